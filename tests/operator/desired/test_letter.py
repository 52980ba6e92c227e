"""Mails to contacts: which is due when, and that every one is complete in both languages."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from elink_operator.api import ElinkTenant
from elink_operator.desired.letter import CANCELLED, DAYS_LEFT, UNDONE, build_letter, letters_due, recipients

from tests.operator.api.builders import NOW, tenant

LETTERS = (CANCELLED, UNDONE, *DAYS_LEFT)


def cancelled(days: float = 14, grace: float = 14, told: Any = None, **spec: Any) -> ElinkTenant:
    """A tenant with `days` left of `grace`."""
    until = NOW + timedelta(days=days)
    since = (until - timedelta(days=grace)).isoformat()
    status: dict[str, Any] = {"cancelledAt": since, "eraseAfter": until.isoformat(), "url": "https://acme.example"}
    if told is not None:
        status["cancellation"] = {"at": since, "told": told}
    return tenant(state="Cancelled", status=status, **spec)


@pytest.mark.parametrize(
    ("days", "grace", "told", "due"),
    [
        (14, 14, None, ["Cancelled"]),
        (14, 14, ["Cancelled"], []),
        (7.1, 14, ["Cancelled"], []),
        (7, 14, ["Cancelled"], ["DaysLeft7"]),
        (1, 14, ["Cancelled", "DaysLeft7"], ["DaysLeft1"]),
        # The relay was away all the time: one mail, the last, says all.
        (0.5, 14, None, ["Cancelled", "DaysLeft7", "DaysLeft1"]),
        (0, 14, None, []),
        (-1, 14, ["Cancelled"], []),
        # A time to undo that is no longer than the notice of its end has none.
        (7, 7, None, ["Cancelled"]),
        (1, 1, None, ["Cancelled"]),
        (0.9, 3, ["Cancelled"], ["DaysLeft1"]),
    ],
)
def test_what_is_due(days: float, grace: float, told: list[str] | None, due: list[str]) -> None:
    assert letters_due(cancelled(days, grace, told), NOW) == due


def test_the_undoing_is_told_to_who_heard_of_the_cancellation_only() -> None:
    known = {"at": NOW.isoformat(), "told": ["Cancelled"]}
    assert letters_due(tenant(status={"cancellation": known}), NOW) == [UNDONE]
    assert letters_due(tenant(status={"cancellation": known | {"told": []}}), NOW) == []
    assert letters_due(tenant(), NOW) == []
    # The status is not written yet, or the second cancellation came first: nothing is undone.
    assert letters_due(tenant(status={"cancellation": known, "cancelledAt": NOW.isoformat()}), NOW) == []


def test_a_second_cancellation_is_told_anew() -> None:
    again = cancelled(told=["Cancelled", "DaysLeft7"])
    earlier = {"at": (NOW - timedelta(days=90)).isoformat(), "told": ["Cancelled", "DaysLeft7"]}
    stale = ElinkTenant.parse(again.dump() | {"status": again.status.dump() | {"cancellation": earlier}})
    assert letters_due(stale, NOW) == ["Cancelled"]


def test_contacts_or_else_the_master_account() -> None:
    assert recipients(tenant(masterAccount={"email": "m@a.example"})) == ("m@a.example",)
    assert recipients(tenant(contacts={"emails": ["a@a.example", "b@a.example"]})) == ("a@a.example", "b@a.example")


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_letter_is_complete(letter: str, language: str) -> None:
    one = cancelled(language=language, displayName="株式会社{あおぞら} <b>%s</b>")
    sent = build_letter(one, letter, sender="elink@elink.example", to="a@acme.example", now=NOW)
    mail = message_from_bytes(sent.as_bytes(policy=policy.SMTP), policy=policy.default)
    text = mail.get_content()
    assert one.spec.display_name in text
    assert one.status.url in text
    assert (("2026" in text) and ("15" in text)) or letter == UNDONE
    assert ("日本時間" in text) == (language == "ja" and letter != UNDONE)
    assert (mail["From"], mail["To"]) == ("elink <elink@elink.example>", "a@acme.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert sent.as_bytes(policy=policy.SMTP).isascii(), "any relay takes it"
    again = build_letter(one, letter, sender="elink@elink.example", to="a@acme.example", now=NOW + timedelta(hours=1))
    other = build_letter(one, letter, sender="elink@elink.example", to="b@acme.example", now=NOW)
    assert again["Message-ID"] == sent["Message-ID"] != other["Message-ID"]


def test_letters_differ_from_one_another() -> None:
    subjects = {
        build_letter(cancelled(language=language), letter, sender="e@e.example", to="a@a.example", now=NOW)["Subject"]
        for letter in LETTERS
        for language in ("ja", "en")
    }
    assert len(subjects) == 2 * len(LETTERS)
