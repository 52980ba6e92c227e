"""Which step may follow which, and when the clock makes one."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from elink_app.clock import JST
from elink_app.deliveries.states import DeliveryState, Waiting, after_quiet, is_quiet, may_follow, states_before

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # noon in Japan
S = DeliveryState


def test_what_is_over_stays_over() -> None:
    assert not any(may_follow(S.CANCELLED, state) for state in S)
    assert [state for state in S if may_follow(S.DONE, state)] == [S.SENDING]
    assert states_before(S.SENDING) == {S.SCHEDULED, S.HOLDING, S.PAUSED, S.DONE}


def test_nothing_is_sent_without_approval() -> None:
    for state in (S.DRAFT, S.AWAITING_APPROVAL):
        assert not may_follow(state, S.SENDING)
        assert not may_follow(state, S.SCHEDULED)
        assert not may_follow(state, S.HOLDING)


@pytest.mark.parametrize(
    ("begin", "end", "quiet", "loud"),
    [
        (time(21), time(8), ["21:00", "23:59", "00:00", "07:59"], ["08:00", "12:00", "20:59"]),
        (time(12), time(13), ["12:00", "12:59"], ["13:00", "11:59", "00:00"]),
        (None, time(8), [], ["03:00"]),
        (time(9), time(9), [], ["09:00"]),
    ],
)
def test_quiet_hours_are_japanese_hours(begin: time | None, end: time, quiet: list[str], loud: list[str]) -> None:
    for moment, expected in [(m, True) for m in quiet] + [(m, False) for m in loud]:
        at = datetime.combine(NOW.date(), time.fromisoformat(moment), tzinfo=JST).astimezone(UTC)
        assert is_quiet(at, begin, end) is expected, moment


def due(state: S, now: datetime = NOW, **hours: float) -> S | None:
    """The step at `now`; `scheduled_at` and `hold_until` are given in hours from NOW."""
    return Waiting(state, **{name: NOW + timedelta(hours=value) for name, value in hours.items()}).step(now)


def test_the_clock_moves_what_waits() -> None:
    assert due(S.HOLDING, hold_until=0.1) is None
    assert due(S.HOLDING, hold_until=0) is S.SENDING
    assert due(S.HOLDING, hold_until=-0.1, scheduled_at=1) is S.SCHEDULED
    assert due(S.HOLDING, hold_until=0.1, scheduled_at=1) is None
    assert due(S.HOLDING, hold_until=-0.1, scheduled_at=-1) is S.SENDING
    assert due(S.SCHEDULED, scheduled_at=0.1) is None
    assert due(S.SCHEDULED, scheduled_at=-1.9) is S.SENDING
    for state in set(S) - {S.HOLDING, S.SCHEDULED}:
        assert due(state, scheduled_at=-1, hold_until=-1) is None


def test_what_is_too_late_asks() -> None:
    assert due(S.SCHEDULED, scheduled_at=-2.1) is S.PAUSED
    assert due(S.HOLDING, hold_until=-2.1) is S.PAUSED
    assert due(S.HOLDING, hold_until=-0.1, scheduled_at=-2.1) is S.SENDING


def test_quiet_hours_put_off_and_do_not_count_as_late() -> None:
    evening = datetime(2026, 11, 24, 22, 0, tzinfo=JST)
    waiting = Waiting(S.SCHEDULED, evening, None, time(21), time(8))
    assert waiting.step(evening) is None
    assert waiting.step(evening + timedelta(hours=9, minutes=59)) is None
    assert waiting.step(evening + timedelta(hours=10)) is S.SENDING
    assert waiting.step(evening + timedelta(hours=12, minutes=1)) is S.PAUSED
    assert after_quiet(evening, time(21), time(8)) == datetime(2026, 11, 25, 8, 0, tzinfo=JST)


@pytest.mark.parametrize(
    ("due_at", "seen_at", "step"),
    [
        # Due just before the quiet hours, looked at within them: it waits until they end, and is not late then.
        ("24T20:59", "24T21:00", None),
        ("24T20:59", "25T07:59", None),
        ("24T20:59", "25T08:00", S.SENDING),
        ("24T20:59", "25T09:59", S.SENDING),
        # Together two hours before and after.
        ("24T20:30", "25T09:30", S.SENDING),
        ("24T20:30", "25T09:31", S.PAUSED),
        ("24T19:00", "25T08:00", S.SENDING),
        ("24T18:59", "25T08:00", S.PAUSED),
        # Only the first quiet hours do not count: what waited through a second evening is late.
        ("24T20:59", "26T08:00", S.PAUSED),
        # Quiet hours that came before it was due, or have not come yet, change nothing.
        ("24T08:00", "24T10:00", S.SENDING),
        ("24T08:00", "24T10:01", S.PAUSED),
        ("24T18:00", "24T20:01", S.PAUSED),
    ],
)
def test_quiet_hours_between_the_moment_and_now_do_not_count_as_late(due_at: str, seen_at: str, step: S | None) -> None:
    wanted, now = (datetime.fromisoformat(f"2026-11-{text}:00+09:00") for text in (due_at, seen_at))
    assert Waiting(S.SCHEDULED, wanted, None, time(21), time(8)).step(now) is step
    assert Waiting(S.HOLDING, None, wanted, time(21), time(8)).step(now) is step


def test_quiet_hours_within_a_day_do_not_count_as_late_either() -> None:
    noon = datetime(2026, 11, 24, 11, 59, tzinfo=JST)
    waiting = Waiting(S.SCHEDULED, noon, None, time(12), time(15))
    assert waiting.step(noon + timedelta(hours=3)) is None
    assert waiting.step(noon + timedelta(hours=3, minutes=1)) is S.SENDING
    assert waiting.step(noon + timedelta(hours=5, minutes=1)) is S.PAUSED
    # None, or the same at both ends: there are no quiet hours.
    for times in ((None, None), (time(12), time(12))):
        assert Waiting(S.SCHEDULED, noon, None, *times).step(noon + timedelta(hours=2, minutes=1)) is S.PAUSED
