"""Conditions are stable: nothing in them moves by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from elink_operator import conditions
from elink_operator.conditions import Condition, merge

NOW = datetime(2026, 7, 1, 12, 0, 0, 987654, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def fine() -> list[Condition]:
    return [
        conditions.true("Ready", "AsDeclared", "all is well"),
        conditions.false("Isolated", "ReachableFromOutside", "a hole"),
        conditions.unknown("BackupHealthy", "NoBackupYet", "tonight"),
    ]


def test_sorted_with_second_precision_in_utc() -> None:
    merged = merge([], fine(), now=NOW.astimezone(), generation=3)
    assert [c["type"] for c in merged] == ["BackupHealthy", "Isolated", "Ready"]
    assert {c["lastTransitionTime"] for c in merged} == {"2026-07-01T12:00:00Z"}
    assert {c["observedGeneration"] for c in merged} == {3}


def test_same_situation_later_is_the_same_list() -> None:
    first = merge([], fine(), now=NOW, generation=3)
    assert merge(first, reversed(fine()), now=LATER, generation=3) == first


def test_time_moves_only_when_the_status_flips() -> None:
    first = merge([], fine(), now=NOW, generation=3)
    reworded = [conditions.true("Ready", "Changing", "other words")]
    assert merge(first, reworded, now=LATER, generation=4)[0]["lastTransitionTime"] == "2026-07-01T12:00:00Z"
    flipped = [conditions.false("Ready", "Changing", "other words")]
    assert merge(first, flipped, now=LATER, generation=4)[0]["lastTransitionTime"] == "2026-07-01T13:00:00Z"


def test_what_is_no_longer_wanted_goes() -> None:
    first = merge([], fine(), now=NOW, generation=1)
    assert [c["type"] for c in merge(first, fine()[:1], now=LATER, generation=1)] == ["Ready"]


def test_unknown_is_not_ready_and_the_first_cause_is_told() -> None:
    parts = [
        conditions.true("A", "Fine"),
        conditions.unknown("B", "NotLooked", "nobody looked"),
        conditions.false("C", "Broken", "it is broken"),
    ]
    ready = conditions.summarize(parts, fine="good")
    assert (ready.type, ready.status, ready.reason, ready.message) == ("Ready", "False", "NotLooked", "nobody looked")
    assert conditions.summarize(parts[:1], fine="good") == conditions.true("Ready", "AsDeclared", "good")


@pytest.mark.parametrize("reason", ["", "not camel", "lower", "With-Dash", "1Number"])
def test_a_reason_is_one_camel_case_word(reason: str) -> None:
    with pytest.raises(ValueError, match="not CamelCase"):
        Condition("Ready", "True", reason)


def test_lookups() -> None:
    merged = merge([], fine(), now=NOW, generation=1)
    assert conditions.is_true(merged, "Ready")
    assert not conditions.is_true(merged, "Isolated")
    assert not conditions.is_true(merged, "BackupHealthy")
    assert not conditions.is_true(merged, "Absent")
    assert conditions.parse_timestamp(conditions.timestamp(NOW)) == NOW.replace(microsecond=0)
