"""Which snapshots are generations, in which order, and which of them go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from elink_backup import generations

NOW = datetime(2026, 1, 20, 17, 0, tzinfo=UTC)


def nights(*moments: datetime, now: datetime = NOW) -> Any:
    """Complete generations of these moments; their IDs are numbers in the order given."""
    tags = ["complete", "tenant=aozora", "kind=daily"]
    found = [
        {"id": str(number), "tags": [*tags, f"generation={generations.name_of(moment)}"]}
        for number, moment in enumerate(moments, 1)
    ]
    return generations.parse(found, now)


def days(first: int, last: int, month: int = 1, year: int = 2026) -> list[datetime]:
    return [datetime(year, month, day, tzinfo=UTC) for day in range(first, last + 1)]


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def test_a_damaged_generation_displaces_no_sound_one() -> None:
    found = nights(*days(1, 9))
    broken = [replace(one, damaged=int(one.id) in (3, 8, 9)) for one in found]
    assert ids(generations.doomed(broken, "aozora", 3)) == ["1", "2", "4", "3"]
    assert ids(generations.present(broken, "aozora"))[-1] == "7"
    assert generations.choose(broken, "aozora", "latest").id == "7"
    assert generations.doomed([replace(one, damaged=int(one.id) > 1) for one in found], "aozora", 1) == []
    assert generations.doomed(broken, "aozora", 7) == []


def test_a_clock_that_ran_ahead_once_makes_no_newest_generation_for_years() -> None:
    found = nights(*days(1, 6), datetime(2031, 1, 7, tzinfo=UTC), *days(8, 9))
    assert generations.choose(found, "aozora", "latest").id == "9"
    assert ids(generations.doomed(found, "aozora", 7)) == ["7", "1"]
    assert ids(generations.present(found, "aozora"))[-1] == "9"


def test_after_a_week_of_a_clock_that_ran_ahead_the_new_generation_stays() -> None:
    """It would go as the oldest of eight, each night, with a backup that succeeds."""
    found = nights(*days(1, 7, year=2031), NOW)
    assert ids(generations.doomed(found, "aozora", 7)) == ["1"]
    assert generations.choose(found, "aozora", "latest").id == "8"


def test_a_clock_that_is_behind_does_not_undo_its_own_backup() -> None:
    behind = datetime(1970, 1, 1, tzinfo=UTC)
    found = nights(*days(1, 7), behind, now=behind + timedelta(minutes=5))
    assert ids(generations.doomed(found, "aozora", 7)) == ["1"]
    assert ids(generations.doomed(nights(*days(1, 7), behind), "aozora", 7)) == ["8"]


def test_a_restore_on_a_node_that_is_hours_behind_takes_the_newest_all_the_same() -> None:
    found = nights(NOW - timedelta(days=1), NOW, now=NOW - timedelta(hours=20))
    assert generations.choose(found, "aozora", "latest").id == "2"
