"""The block that the law on e-mail advertising (特定電子メール法) wants at the end of an advert. Pure functions."""

from __future__ import annotations

import html
from dataclasses import dataclass

from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD
from elink_app.templates.layout import before_end_of_body

_LINK = "{{" + UNSUBSCRIBE_FIELD + "}}"
_RULE = "-" * 40
_BEGIN = f"\n\n{_RULE}\n【送信者】"
_CLICKS = "リンクを開くと、開いたことが送信者の配信サービスに送られ、リンクごとの人数の集計だけに使われます。"


@dataclass(frozen=True)
class Imprint:
    """Sender's name, postal address and where complaints go, as written in the settings."""

    organisation: str = ""
    postal_address: str = ""
    contact: str = ""

    @property
    def complete(self) -> bool:
        """True when an advert may be sent."""
        return all(part.strip() for part in (self.organisation, self.postal_address, self.contact))


def text_footer(imprint: Imprint) -> str:
    """For the plain text part."""
    lines = [_RULE, f"【送信者】{_plain(imprint.organisation)}"]
    lines += [f"【住所】{_plain(' '.join(imprint.postal_address.split()))}"]
    lines += [f"【お問い合わせ】{_plain(imprint.contact)}", "【配信停止】下記のページからいつでも停止できます。", _LINK]
    return "\n".join(lines) + "\n"


def html_footer(imprint: Imprint) -> str:
    """For the HTML part; colours are stated, so that no mail hides it by its own."""

    def shown(value: str) -> str:
        return html.escape(_plain(value)).replace("\n", "<br>")

    return (
        '<div style="clear:both;margin:24px 0 0;padding:16px;border-top:1px solid #888888;background-color:#ffffff;'
        'color:#222222;font-size:13px;line-height:1.7">'
        f"<p>送信者:{shown(imprint.organisation)}<br>住所:{shown(imprint.postal_address)}<br>"
        f"お問い合わせ:{shown(imprint.contact)}</p>"
        f'<p><a href="{_LINK}" style="color:#1f4fa3">配信停止はこちら</a></p></div>'
    )


def without_footer(text_body: str) -> tuple[str, str]:
    """The plain text part of an advert, and its footer."""
    text, begin, rest = text_body.rpartition(_BEGIN)
    return text, begin + rest


def with_note_on_clicks(text_body: str, html_body: str) -> tuple[str, str]:
    """Both parts with a sentence that tells of counted links: what is sent, to whom and what for (電気通信事業法)."""
    text = f"{text_body.rstrip()}\n\n{_CLICKS}\n"
    if not html_body:
        return text, ""
    return text, before_end_of_body(html_body, f'<p style="color:#222222;font-size:13px">{_CLICKS}</p>')


def with_footer(text_body: str, html_body: str, imprint: Imprint) -> tuple[str, str]:
    """Both parts of an advert, the footer last; an empty HTML part stays empty."""
    text = f"{text_body.rstrip()}\n\n{text_footer(imprint)}"
    if not html_body:
        return text, ""
    return text, before_end_of_body(html_body, html_footer(imprint))


def _plain(value: str) -> str:
    """Settings are no templates: two braces in them stay what they are."""
    return value.replace("{{", "{ {").replace("}}", "} }")
