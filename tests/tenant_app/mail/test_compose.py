"""What is composed by splicing is what the standard library would have built, and verifies with an independent DKIM."""

from __future__ import annotations

import email
import email.policy
import html
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from elink_app.mail.address import BadMailbox
from elink_app.mail.base64_parts import Base64Template, Hole, encoded_lines
from elink_app.mail.compose import Composer, Content, Message, Origin, Recipient
from elink_app.mail.dkim import Signer, dns_record, new_private_pem
from elink_app.mail.placeholders import PlaceholderError, field_names, parse
from elink_app.mail.tokens import (
    DeliveryTokens,
    RecipientIds,
    bounce_mark,
    read_bounce,
    read_unsubscribe_token,
    tenant_mark,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SECRET = b"s" * 32
ORIGIN = Origin("uid-1", SECRET, "https://sakura.example", "bounce.example", "frozen")
CONTENT = Content(
    subject="{{氏名|お客様}}様へのお知らせ",
    text="{{氏名|お客様}} 様\n\nいつもお世話になっております。{{会社}}\n停止: {{配信停止URL}}\n",
    html='<p>{{氏名|お客様}} 様</p><a href="{{配信停止URL}}">停止</a><p>{{会社|<個人>}}</p>',
    from_address="info@sakura.example",
    from_name="株式会社さくら商店",
    reply_to="reply@sakura.example",
    fields=("氏名", "会社"),
)
PEM = new_private_pem()
TO = "to@there.example"
BREAKS = [
    "a\r\nBcc: all@x",
    "a\nBcc: b@c",
    "a\rBcc: b@c",
    "a\u2028Bcc: x",
    "a\x85b",
    "\r\n\r\nbody",
    "=?utf-8?B?Cg==?=",
]
PLAIN = Content("Plain  subject ", "text", "", "a@sakura.example", fields=("氏名", "会社"))


def compose(content: Content = CONTENT, slots: tuple[str, ...] = ("山田 太郎", "A&B"), to: str = TO) -> Message:
    return Composer(7, content, ORIGIN).compose(Recipient(3, to, slots), NOW)


def raw(message: Message, signer: Signer | None = None) -> bytes:
    return message.mail(signer).body.removesuffix(b".\r\n")


def parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    assert not any(part.defects for part in message.walk())
    return message


def filled(source: str, values: dict[str, str], escape: bool = False) -> str:
    """A naive filling in."""
    out = []
    for part in parse(source):
        if isinstance(part, str):
            out.append(part)
        else:
            value = values[part.name] or part.default
            out.append(html.escape(value) if escape else value)
    return "".join(out)


def naive(content: Content, slots: tuple[str, ...], link: str, to: str) -> EmailMessage:
    """The same mail, built by the standard library from nothing."""
    values = dict(zip((*content.fields, "配信停止URL"), (*slots, link), strict=True))
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = Address(content.from_name, addr_spec=content.from_address)
    message["To"] = to
    message["Subject"] = filled(content.subject, values).strip()
    message.set_content(filled(content.text, values), cte="base64")
    message.add_alternative(filled(content.html, values, escape=True), subtype="html", cte="base64")
    return parsed(message.as_bytes())


def bodies(message: EmailMessage) -> list[tuple[str, str]]:
    return [
        (part.get_content_type(), part.get_content().replace("\r\n", "\n").rstrip("\n"))
        for part in message.walk()
        if not part.is_multipart()
    ]


PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs", "Cf", "Cn", "Co"]), max_size=80)
TEXTS = st.lists(PRINTABLE, max_size=6).map(" ".join)


@settings(max_examples=60)
@given(name=TEXTS, company=TEXTS)
def test_equals_a_naive_build(name: str, company: str) -> None:
    slots = (name, company)
    ours = parsed(raw(compose(slots=slots)))
    link = ours["List-Unsubscribe"].strip("<>")
    theirs = naive(CONTENT, slots, link, "to@there.example")
    for header in ("From", "To"):
        assert str(ours[header]) == str(theirs[header])
    # Against the source: the standard library loses spaces where it folds.
    wanted = filled(CONTENT.subject, dict(zip(CONTENT.fields, slots, strict=True)))
    assert " ".join(ours["Subject"].split()) == " ".join(wanted.split())
    assert bodies(ours) == bodies(theirs)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 2)), max_size=8),
    st.tuples(*[st.binary(max_size=130)] * 3),
)
def test_base64_with_holes_is_base64_of_the_whole(pieces: list[bytes | int], values: tuple[bytes, ...]) -> None:
    template = Base64Template([Hole(piece, b"default") if isinstance(piece, int) else piece for piece in pieces])
    lines = template.render(values)
    expected = b"".join((values[piece] or b"default") if isinstance(piece, int) else piece for piece in pieces)
    assert b64decode(lines.replace(b"\r\n", b""), validate=True) == expected
    assert all(len(line) <= 76 for line in lines.split(b"\r\n"))
    assert b"\r\n\r\n" not in lines
    assert encoded_lines(b"") == b""


def test_headers_and_links() -> None:
    message = compose()
    got = parsed(raw(message))
    assert got["Subject"] == "山田 太郎様へのお知らせ"
    assert got["Date"] == "Tue, 24 Nov 2026 18:00:00 +0900"
    assert got["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = got["List-Unsubscribe"].strip("<>").rpartition("/")[2]
    assert read_unsubscribe_token(SECRET, token) == RecipientIds(7, 3)
    assert f"https://sakura.example/unsubscribe/{token}" in bodies(got)[0][1]
    local, _, domain = message.sender.partition("@")
    assert domain == "bounce.example"
    assert bounce_mark(local) == tenant_mark("uid-1")
    assert read_bounce(SECRET, local.upper()) == RecipientIds(7, 3)
    assert got["Message-ID"] == parsed(raw(compose()))["Message-ID"], "a second attempt bears the same Message-ID"
    assert all(len(line) <= 998 for line in raw(message).split(b"\r\n"))


def test_defaults_and_escaping() -> None:
    text, page = [body for _, body in bodies(parsed(raw(compose(slots=("", "")))))]
    assert text.startswith("お客様 様")
    assert "&lt;個人&gt;" in page, "the default is text too"
    _, page = [body for _, body in bodies(parsed(raw(compose(slots=('<script>"x"</script>', "&")))))]
    assert "&lt;script&gt;&quot;x&quot;&lt;/script&gt;" in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    "value",
    BREAKS,
)
def test_no_value_can_begin_a_header(value: str) -> None:
    content = Content("{{氏名}}", "x", "", "a@b.example", from_name=value, fields=("氏名",))
    message = parsed(raw(compose(content, (value,))))
    assert message["Bcc"] is None
    assert sorted(message.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "List-Unsubscribe", "List-Unsubscribe-Post",
         "Content-Type", "Content-Transfer-Encoding"]
    )  # fmt: skip
    assert message.get_content().strip() == "x"


def test_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(BadMailbox):
        Composer(1, replace(CONTENT, from_address="a@b>\r\nX: y"), ORIGIN)
    with pytest.raises(BadMailbox):
        compose(to="a@b\r\nBcc: c@d")


@pytest.mark.parametrize(
    ("source", "code", "position"),
    [("x{{氏名", "unclosed", 1), ("{{}}", "empty", 0), ("{{ | x}}", "empty", 0), ("{{a{b}}", "brace", 0),
     ("{{a\nb}}", "line_break", 0), ("{{" + "a" * 61 + "}}", "too_long", 0), ("{{a|" + "b" * 201 + "}}", "too_long", 0),
     ("{{{{a}}}}", "brace", 0)],
)  # fmt: skip
def test_wrong_placeholders(source: str, code: str, position: int) -> None:
    with pytest.raises(PlaceholderError) as wrong:
        parse(source)
    assert (wrong.value.code, wrong.value.position) == (code, position)


def test_nothing_is_executed() -> None:
    for source in ("{{7*7}}", "{{ ''.__class__ }}", "{{ENV.SECRET}}"):
        with pytest.raises(KeyError):
            Composer(1, Content(source, "x", "", "a@b.example"), ORIGIN)
    untouched = "${7*7} #{x} {%raw%} <%=1%> }} { { 氏名 } }"
    message = compose(Content(untouched, untouched, "", "a@b.example"), ())
    assert parsed(raw(message))["Subject"] == untouched
    assert parsed(raw(message)).get_content().strip() == untouched
    assert field_names(["{{ ＩＤ }}{{ID|x}}", "{{氏名}}"]) == ["ID", "氏名"]


@pytest.mark.parametrize("slots", [("山田", "A&B"), ("a  double", "x\ty"), ("長い" * 60, "")])
@pytest.mark.parametrize("content", [CONTENT, PLAIN])
def test_signatures_verify_with_an_independent_program(slots: tuple[str, ...], content: Content) -> None:
    signer = Signer("sakura.example", "elink1", PEM)
    record = dns_record(PEM).encode()

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"elink1._domainkey.sakura.example."
        return record

    data = raw(compose(content, slots), signer)
    parsed(data)
    verifier = dkim.DKIM(data)
    assert verifier.verify(dnsfunc=lookup)
    signed = {name for name, _ in verifier.signed_headers}
    assert {b"list-unsubscribe", b"list-unsubscribe-post", b"from", b"to", b"subject", b"message-id"} <= signed
    for changed in (
        data.replace(b"One-Click", b"Two-Click"),
        data.replace(b"\r\n\r\n", b"\r\n\r\nAAAA", 1),
        b"From: evil@x.example\r\n" + data,
        b"Subject: other\r\n" + data,
    ):
        assert changed != data
        assert not dkim.verify(changed, dnsfunc=lookup)


def test_a_weak_or_strange_key_is_refused() -> None:
    for key in (rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()):  # noqa: S505
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        with pytest.raises(ValueError, match="2,048"):
            Signer("a.example", "s", pem)


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_foreign_tokens_are_nobodys(token: str) -> None:
    assert read_unsubscribe_token(SECRET, token) is None
    assert read_bounce(SECRET, token) is None
    assert read_bounce(SECRET, "b-" + token) is None


def test_tokens_of_other_tenants_and_purposes() -> None:
    ids = RecipientIds(2**40 - 1, 2**48 - 1)
    token = DeliveryTokens(SECRET, b"", ids.delivery_id, "").unsubscribe(ids.recipient_id)
    assert read_unsubscribe_token(SECRET, token) == ids
    assert read_unsubscribe_token(b"o" * 32, token) is None
    assert read_bounce(SECRET, "b-" + token) is None
    for at in range(len(token)):
        changed = token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1 :]
        assert read_unsubscribe_token(SECRET, changed) is None
