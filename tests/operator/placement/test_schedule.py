"""Backups are spread over the night, each tenant's at a fixed minute."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from elink_operator.schedule import default_schedule, drill_slot, in_backup_window


def test_between_one_and_five_and_always_the_same() -> None:
    for number in range(500):
        text = default_schedule(f"tenant-{number}")
        found = re.fullmatch(r"(\d+) (\d+) \* \* \*", text)
        assert found is not None
        assert 0 <= int(found[1]) < 60
        assert 1 <= int(found[2]) < 5
        assert default_schedule(f"tenant-{number}") == text


def test_a_full_server_is_spread() -> None:
    minutes = Counter(default_schedule(f"tenant-{number}") for number in range(1000))
    assert len(minutes) > 200
    assert max(minutes.values()) < 20


def test_pinned() -> None:
    """A change of the rule would move every tenant's backup."""
    assert default_schedule("acme") == "12 4 * * *"


@pytest.mark.parametrize(
    ("utc", "closed"),
    [("14:59", False), ("15:00", True), ("16:30", True), ("20:59", True), ("21:00", False), ("03:00", False)],
)
def test_no_drill_from_midnight_to_six_in_japan(utc: str, closed: bool) -> None:
    assert in_backup_window(datetime.fromisoformat(f"2026-03-01T{utc}:00+00:00"), "Asia/Tokyo") is closed


def test_each_tenant_has_one_moment_per_period() -> None:
    period, now = timedelta(days=27), datetime(2026, 11, 28, 3, tzinfo=UTC)
    slot = drill_slot("acme", period, now)
    assert now - period < slot <= now
    assert drill_slot("acme", period, slot) == slot
    assert drill_slot("acme", period, slot - timedelta(seconds=1)) == slot - period
    assert drill_slot("acme", period, slot + period) == slot + period


def test_drills_of_many_tenants_are_spread_evenly() -> None:
    period, now = timedelta(days=27), datetime(2026, 11, 28, 3, tzinfo=UTC)
    days = Counter((now - drill_slot(f"tenant-{number}", period, now)).days for number in range(2700))
    assert set(days) == set(range(27))
    assert max(days.values()) < 150
