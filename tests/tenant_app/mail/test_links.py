"""Which URLs of a mail are counted, and what stands in their place."""

from __future__ import annotations

import email
import email.policy
import html
import re
from dataclasses import replace

import pytest
from elink_app.mail.compose import Composer, Content, Origin, Recipient
from elink_app.mail.links import MOST_LINKS, Link, find, location, with_links
from elink_app.mail.placeholders import Placeholder
from elink_app.mail.tokens import ClickIds, ClickTokens, click_ids
from elink_app.templates.layout import Layout, render

from tests.tenant_app.mail.test_compose import NOW

SECRET = b"s" * 32
A, B = "https://a.example/?x=1&y=2", "https://b.example/"
BASE = "https://sakura.example:8443"


@pytest.mark.parametrize(
    ("text", "counted", "left"),
    [
        (f"見て{A}。\n({B})、「{B}」", (A, B), ()),
        ("https://a.example/b_(c), https://a.example/d). <https://a.example/e>!",
         ("https://a.example/b_(c)", "https://a.example/d", "https://a.example/e"), ()),
        ("HTTPS://例え.jp と https://例え.jp/?a", ("HTTPS://例え.jp", "https://例え.jp/?a"), ()),
        ("https://a.exampleをご覧、https://a.example/道", (), ("https://a.example", "https://a.example/")),
        ("https://a.example/?c={{会社|x y}}&z https://{{名前}}/", (), ("https://a.example/?c={{会社|x y}}&z",
                                                                    "https://{{名前}}/")),
        ("{{名前}}https://a.example/", ("https://a.example/",), ()),
        ("mailto:a@b.example tel:03 http:// xhttps://a.example javascript://a.example/ {{配信停止URL}}", (), ()),
        ("https://a.example:x/ https://[::1/", (), ("https://a.example:x/", "https://[::1/")),
        ("https://a.example/" + "x" * 2000, (), ("https://a.example/" + "x" * 2000,)),
        ("", (), ()),
    ],
)  # fmt: skip
def test_urls_in_plain_text(text: str, counted: tuple[str, ...], left: tuple[str, ...]) -> None:
    found = find(text, "")
    assert (found.counted, found.left) == (counted, left)


def test_urls_in_html() -> None:
    page = render(
        Layout.HTML,
        f"""<p title='<a href="https://no.example/">'> href="https://no.example/" https://no.example/
        <a title="a>b" style="color:red" href="{A.replace("&", "&amp;")}">1</a><a href='{B}'>2</a>
        <a href=" https://例え.jp/道?q=あ ">3</a><a href="mailto:a@b.example">4</a><a href="tel:03">5</a>
        <a href='https://a.example/?c={{{{会社|"x"}}}}'>6</a><a href="{{{{配信停止URL}}}}">7</a>
        <a title='{{{{名前|<a href="https://no.example/">}}}}' href="https://c.example/">8</a>
        <img src="https://no.example/x.png"><a href="https://a.example/
b">9</a></p>""",
        base_url=BASE,
    )
    found = find("", page)
    assert found.counted == (A, B, "https://例え.jp/道?q=あ", "https://c.example/")
    assert found.left == ('https://a.example/?c={{会社|"x"}}', "https://a.example/\nb")


def test_one_url_has_one_number_in_both_parts() -> None:
    page = render(Layout.HTML, f'<a href="{html.escape(A)}">x</a><a href="{B}">y</a>', base_url=BASE)
    assert find(f"{A} {A}", page).counted == (A, B)
    assert with_links(f"{{{{名前}}}} {A}、{B}", {A: 7}, in_html=False) == [
        Placeholder("名前"), " ", Link(7), f"、{B}"
    ]  # fmt: skip
    pieces = with_links(page, {A: 7}, in_html=True)
    assert pieces[1] == Link(7)
    assert str(pieces[0]).endswith('<a href="')
    assert B in str(pieces[2])


def test_links_of_our_own_and_too_many() -> None:
    own = [f"{BASE}/unsubscribe/", f"{BASE}/l/"]
    assert find(f"{BASE}/unsubscribe/abc {BASE}/l/abc {B}", "", never=own).counted == (B,)
    many = find(" ".join(f"{B}{n}" for n in range(MOST_LINKS + 2)), "")
    assert len(many.counted) == MOST_LINKS
    assert many.left == (f"{B}{MOST_LINKS}", f"{B}{MOST_LINKS + 1}")


@pytest.mark.parametrize(
    ("url", "ascii_url"),
    [
        (A, A),
        ("https://例え.jp:81/道?q=あ#ö", "https://xn--r8jz45g.jp:81/%E9%81%93?q=%E3%81%82#%C3%B6"),
        ("https://straße.example/%E3%81%82%zz", "https://xn--strae-oqa.example/%E3%81%82%zz"),
        ("https://a.example/\"<>|^`{}", "https://a.example/%22%3C%3E%7C%5E%60%7B%7D"),
        ("https://u:p@a.example/", "https://u:p@a.example/"),
        ("https://u@例え.jp/", None),
        ("https://-例-.jp/", None),
        ("https:///a.example", None),
        ("https:\\\\a.example", None),
        ("https://a.example\\@b.example/", None),
        ("https://a.example/\r\nSet-Cookie: x=1", None),
        ("https://a.example/\x85", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("//a.example/", None),
        ("/l/x", None),
        ("ftp://a.example/", None),
        ("", None),
    ],
)  # fmt: skip
def test_location(url: str, ascii_url: str | None) -> None:
    assert location(url) == ascii_url
    assert ascii_url is None or ascii_url.isascii()


def test_long_sources_end() -> None:
    """With a search that goes back over what it read, these would take hours."""
    found = find("https://" + "a-." * 60_000 + " https://x/" + ")" * 180_000, "<a " + 'x="1" ' * 30_000)
    assert (found.counted, len(found.left)) == ((), 2)
    found = find("https://" * 20_000 + "{{" * 20_000, "<a href=" * 20_000)
    assert (found.counted, len(found.left)) == ((), 1)


def origin() -> Origin:
    return Origin("uid-1", SECRET, BASE, "", "frozen")


def test_a_mail_with_counted_links() -> None:
    page = render(
        Layout.HTML, f'<p>{{{{名前}}}}</p><a href="{html.escape(A)}">{html.escape(A)}</a><a href="{B}">y</a>'
        '<a href="{{配信停止URL}}">z</a>', base_url=BASE,
    )  # fmt: skip
    text = f"{{{{名前}}}} 様 {A}\n{B}\n{{{{配信停止URL}}}}"
    content = Content("件名", text, page, "a@sakura.example", fields=("名前",), links={A: 1, B: 2})
    composer = Composer(7, content, origin())
    tokens = ClickTokens(SECRET, "uid-1", "sakura.example", 7, "frozen")
    plain = Composer(7, replace(content, links={}), origin())
    for number, name in ((3, "山田 & 娘"), (4, "")):
        parts = mail_parts(composer, Recipient(number, "to@there.example", (name,)))
        ours = {url: f"{BASE}/l/{tokens.token(number, at)}" for url, at in ((A, 1), (B, 2))}
        # What it would be without: the same mail but for the URLs.
        for kind, before in mail_parts(plain, Recipient(number, "to@there.example", (name,))).items():
            for url, own in ours.items():
                old, new = (f'href="{html.escape(url)}"', f'href="{own}"') if kind == "text/html" else (url, own)
                before = before.replace(old, new)
            assert parts[kind] == before
        assert len(set(re.findall(r"/unsubscribe/\w+", "".join(parts.values())))) == 1
        assert html.escape(A) in parts["text/html"], "what is read stays as it is written"


def mail_parts(composer: Composer, recipient: Recipient) -> dict[str, str]:
    """The parts of a mail by type."""
    mail = email.message_from_bytes(
        composer.compose(recipient, NOW).mail().body.removesuffix(b".\r\n"), policy=email.policy.SMTP
    )
    return {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}


def test_tokens_name_all_that_they_depend_on() -> None:
    def token(secret: bytes = SECRET, uid: str = "u", host: str = "h", delivery: int = 1, frozen: str = "f",
              recipient: int = 2, number: int = 3) -> str:  # fmt: skip
        return ClickTokens(secret, uid, host, delivery, frozen).token(recipient, number)

    right = token()
    assert click_ids(right) == ClickIds(1, 2, 3)
    others = [
        token(secret=b"o" * 32), token(uid="x"), token(host="x"), token(delivery=9), token(frozen="x"),
        token(recipient=9), token(number=9), token(uid="u\0h", host=""),
    ]  # fmt: skip
    assert len({right, *others}) == len(others) + 1
    assert len({one[-28:] for one in (right, *others)}) == len(others) + 1
    for wrong in (right[:-1], right + "0", "F" * 54, right[:-1] + "g", "", "x" * 54, right[:50], "０" * 54):
        assert click_ids(wrong) is None
    assert click_ids("f" * 54) == ClickIds(2**40 - 1, 2**48 - 1, 2**16 - 1)
