"""What an outcome means, and how long a deferred mail waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from elink_app.deliveries.states import RecipientState
from elink_app.mail.smtp import Outcome
from elink_app.worker.delivery_results import back_off, result_of

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def test_back_off_grows_to_four_hours() -> None:
    waits = [back_off(attempt) for attempt in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(minutes=1), timedelta(hours=4))


@pytest.mark.parametrize(
    ("outcome", "resend", "state"),
    [
        (Outcome.ACCEPTED, False, RecipientState.ACCEPTED),
        (Outcome.REFUSED, False, RecipientState.REFUSED),
        (Outcome.UNSENT, False, RecipientState.QUEUED),
        (Outcome.SENDER_REFUSED, False, RecipientState.QUEUED),
        (Outcome.TOO_LARGE, False, RecipientState.QUEUED),
        (Outcome.UNKNOWN, False, RecipientState.UNKNOWN),
        (Outcome.UNKNOWN, True, RecipientState.DEFERRED),
        (Outcome.DEFERRED, False, RecipientState.DEFERRED),
    ],
)
def test_what_an_outcome_means(outcome: Outcome, resend: bool, state: RecipientState) -> None:
    result = result_of(1, 2, outcome, "words", now=NOW, started_at=NOW, resend_unknown=resend)
    assert result.state is state
    assert (result.next_at is not None) is (state in (RecipientState.QUEUED, RecipientState.DEFERRED))


@pytest.mark.parametrize(("hours", "attempts", "given_up"), [(47, 20, False), (49, 4, False), (49, 5, True)])
def test_deferred_for_two_days_at_most(hours: int, attempts: int, given_up: bool) -> None:
    begun = NOW - timedelta(hours=hours)
    result = result_of(1, attempts, Outcome.DEFERRED, "450", now=NOW, started_at=begun, resend_unknown=False)
    assert result.state is (RecipientState.REFUSED if given_up else RecipientState.DEFERRED)
