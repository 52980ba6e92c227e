"""Business days, the legal footer and the fingerprint of a content."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from elink_app.clock import JST
from elink_app.deliveries import schemas
from elink_app.deliveries.calendar import is_business_day, next_business_morning
from elink_app.deliveries.content import fingerprint
from elink_app.deliveries.footer import Imprint, with_footer
from elink_app.mail.placeholders import field_names
from elink_app.senders.schemas import DkimDomainInput, SenderAddressInput, SettingsInput, SettingsOutput
from elink_app.templates.layout import Layout, render
from elink_app.templates.schemas import TemplateInput, TemplateOutput
from pydantic import BaseModel

IMPRINT = Imprint("株式会社さくら <商店>", "〒100-0001\n東京都千代田区1-1", "info@sakura.example")


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 24), True), (date(2026, 11, 23), False), (date(2026, 11, 22), False),
        (date(2026, 5, 6), False), (date(2026, 12, 29), False), (date(2026, 12, 28), True),
        (date(2027, 1, 1), False), (date(2027, 1, 2), False), (date(2027, 1, 4), True), (date(2026, 9, 22), False),
    ],
)  # fmt: skip
def test_business_days(day: date, expected: bool) -> None:
    assert is_business_day(day) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-24T08:59:59+09:00", "2026-11-24T09:00:00+09:00"),
        ("2026-11-24T09:00:00+09:00", "2026-11-25T09:00:00+09:00"),
        ("2026-11-20T18:00:00+09:00", "2026-11-24T09:00:00+09:00"),
        ("2026-12-28T10:00:00+09:00", "2027-01-04T09:00:00+09:00"),
        ("2026-11-24T23:30:00+00:00", "2026-11-25T09:00:00+09:00"),
    ],
)
def test_next_business_morning(now: str, expected: str) -> None:
    found = next_business_morning(datetime.fromisoformat(now))
    assert found.tzinfo is UTC
    assert found.astimezone(JST).isoformat() == expected


def test_the_footer_is_the_last_thing_in_both_parts() -> None:
    page = render(Layout.HTML, "<p>本文</p><div style='display:none'>", base_url="https://x")
    text, html = with_footer("本文", page, IMPRINT)
    for part in (text, html):
        for word in ("株式会社さくら", "東京都千代田区1-1", "info@sakura.example", "{{配信停止URL}}"):
            assert word in part
        assert part.index("本文") < part.index("株式会社さくら")
    assert "&lt;商店&gt;" in html
    assert "<商店>" not in html
    assert html.endswith("</div>\n</body></html>\n")
    # What the author left open is closed before the footer: it cannot be hidden with it.
    assert html.index("</div>", html.index("display:none")) < html.index("株式会社さくら")
    assert with_footer("本文", "", IMPRINT)[1] == ""


def test_settings_are_no_templates() -> None:
    text, html = with_footer("", "<body>\n</body></html>\n", Imprint("{{名前}}", "{{7*7}}", "a}}{{b"))
    assert field_names((text, html)) == ["配信停止URL"]


def test_any_change_changes_the_fingerprint() -> None:
    values = {
        "subject": "s", "text_body": "t", "html_body": "h", "from_name": "n", "from_address": "a@b.example",
        "reply_to": "", "category": "notice", "segment": {"tag": 1}, "count_clicks": False,
        "attachments": [],
    }  # fmt: skip
    file = {"name": "a.pdf", "media_type": "application/pdf", "size": 3, "sha256": "0" * 64}
    first = fingerprint(SimpleNamespace(**values))
    # As releases without that switch made it: what they approved stays approved.
    assert first.hex() == "7e6698479cc49c9c86953b67eece2105af389f75ffd86bb21983395354ea5289"
    seen = {first}
    for name in values:
        changed = {"segment": {"tag": 2}, "count_clicks": True, "attachments": [file]}.get(name, f"{values[name]}x")
        seen.add(fingerprint(SimpleNamespace(**{**values, name: changed})))
    assert len(seen) == len(values) + 1
    for name, other in {"name": "b.pdf", "media_type": "image/png", "size": 4, "sha256": "1" * 64}.items():
        seen.add(fingerprint(SimpleNamespace(**{**values, "attachments": [{**file, name: other}]})))
    assert len(seen) == len(values) + 1 + len(file)
    assert fingerprint(SimpleNamespace(**{**values, "subject": "st", "text_body": ""})) not in seen


@pytest.mark.parametrize(
    "model",
    [
        schemas.DeliveryInput, schemas.DeliveryUpdate, schemas.DeliveryOutput, schemas.Approval, schemas.Rejection,
        schemas.Release, schemas.TestMail, TemplateInput, TemplateOutput, SettingsInput, SettingsOutput,
        SenderAddressInput, DkimDomainInput,
    ],
)  # fmt: skip
def test_examples_are_true(model: type[BaseModel]) -> None:
    for example in model.model_config["json_schema_extra"]["examples"]:  # type: ignore[index, call-overload]
        model.model_validate(example)
