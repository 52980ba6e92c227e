"""The bytes of composed mails, pinned: a quicker composer must not change a single one of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from elink_app.mail.compose import Composer, Content, Origin, Recipient

GOLDEN = Path(__file__).parent / "golden" / "composed.json"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
ORIGIN = Origin("uid-1", b"s" * 32, "https://sakura.example:8443", "bounce.example", "2026-11-24T00:00:00+00:00")
FULL = Content(
    subject="{{氏名|お客様}}様へ {{会社}}のお知らせ",
    text="{{氏名|お客様}} 様\n\n{{会社}}{{会社}}\r\nいつもお世話になっております。\r停止: {{配信停止URL}}",
    html='<p>{{氏名|お客様}} 様</p><a href="{{配信停止URL}}">停止</a><p>{{会社|<個人> & "他"}}</p>\n.\n..\n',
    from_address="info@sakura.example",
    from_name="株式会社さくら商店",
    reply_to="reply@sakura.example",
    fields=("氏名", "会社"),
)
PLAIN = Content("Plain  subject ", "text", "", "a@sakura.example", from_name='A "B" \\C', fields=("氏名", "会社"))
CONTENTS = {
    "full": FULL,
    "plain": PLAIN,
    "no_one_click": replace(FULL, one_click=False, reply_to=""),
    "html_only": replace(FULL, text="", subject="固定の件名"),
    "only_holes": replace(FULL, text="{{氏名}}{{会社}}", html="", subject="{{氏名}}"),
    "empty_bodies": replace(FULL, text="", html=""),
    "dots_and_long_lines": replace(PLAIN, text=".\n..\n.{{氏名}}\n" + "長い行" * 60, subject=".{{会社}}"),
}
PEOPLE = {
    "japanese": Recipient(3, "to@there.example", ("山田 太郎", "A&B")),
    "empty": Recipient(2**40, "a..b@docomo.ne.jp", ("", "")),
    "emoji": Recipient(4, "TO+x@There.Example", ("👨‍👩‍👧‍👦🗾", "<b>髙﨑 & 'Co'</b>")),
    "long": Recipient(5, "l" * 60 + "@d.example", ("長い名前" * 20, "x" * 120)),
    "control": Recipient(6, "c@d.example", ("a\r\nBcc: b@c\x00\x07", "x\ty\u2028z\x85\x7f")),
    "dots": Recipient(7, "d@d.example", (".", "..\n.\n")),
    "spaces": Recipient(8, "s@d.example", ("  a  ", "=?utf-8?B?Cg==?=")),
}


def composed(content: Content, origin: Origin, person: Recipient) -> dict[str, list[str]]:
    """Everything that leaves for one person, as lines."""
    mail = Composer(7, content, origin).compose(person, NOW).mail()
    return {
        "commands": [command.decode("ascii") for command in mail.commands],
        "body": mail.body.decode("ascii").split("\r\n"),
    }


def test_every_byte_is_as_it_was(request: pytest.FixtureRequest) -> None:
    now = {
        f"{kind}/{name}": composed(content, ORIGIN, person)
        for kind, content in CONTENTS.items()
        for name, person in PEOPLE.items()
    }
    now["full/no_bounce_domain"] = composed(FULL, replace(ORIGIN, bounce_domain=""), PEOPLE["japanese"])
    now["full/long_secret"] = composed(FULL, replace(ORIGIN, secret=b"long" * 40), PEOPLE["japanese"])
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=True) + "\n")
    assert now == json.loads(GOLDEN.read_text())
