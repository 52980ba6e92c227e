"""Midnight in Japan, and the last of a year: what is named, kept, due or told at such a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from elink_backup import generations, job, report
from elink_operator.api import ElinkTenant
from elink_operator.changes import chosen
from elink_operator.changes import moment as start_of
from elink_operator.desired.change import About, build_change
from elink_operator.desired.letter import build_letter
from elink_operator.jst import JST, jst
from elink_operator.reconcile.cancellation import dates
from elink_operator.schedule import default_schedule, in_backup_window
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.api.builders import tenant

TOKYO = "Asia/Tokyo"
EVE = datetime(2026, 12, 31, 23, 59, 59, 900_000, JST)
TENTH = timedelta(seconds=0.1)


def around_midnight() -> st.SearchStrategy[datetime]:
    """Within a second of some midnight in Japan, leap days and New Years among them; in the zone of a machine."""
    days = st.sampled_from([(2026, 11, 28), (2026, 12, 31), (2027, 1, 1), (2028, 2, 28), (2028, 2, 29)])
    zones = st.sampled_from([JST, UTC, timezone(timedelta(hours=-8))])

    def moment(day: tuple[int, int, int], micros: int, zone: timezone) -> datetime:
        return (datetime(*day, tzinfo=JST) + timedelta(days=1, microseconds=micros)).astimezone(zone)

    return st.builds(moment, days, st.integers(-1_000_000, 1_000_000), zones)


@given(moments=st.lists(around_midnight(), min_size=1, max_size=20))
def test_generations_are_in_the_order_of_time_over_every_midnight(moments: list[datetime]) -> None:
    by_time = sorted(moments)
    names = [generations.name_of(moment) for moment in by_time]
    assert names == sorted(names)
    for moment, name in zip(by_time, names, strict=True):
        made = datetime.fromisoformat(generations.Snapshot("x", {"generation": name}, complete=True).made)
        assert timedelta() <= moment - made < timedelta(seconds=1)


def test_the_seven_newest_of_the_schedule_stay_over_the_new_year() -> None:
    nights = [datetime(2026, 12, 27, 2, 30, tzinfo=JST) + timedelta(days=n) for n in range(9)]
    # By hand, at the last moment of the year and at the first.
    made = [*((night, "daily") for night in nights), (EVE, "extra"), (EVE + TENTH, "extra")]
    snapshots = [
        generations.Snapshot(f"id-{n}", {"generation": generations.name_of(at), "kind": kind, "tenant": "a"}, True)
        for n, (at, kind) in enumerate(sorted(made))
    ]
    gone = {s.name for s in generations.doomed(snapshots, "a", 7)}
    assert gone == {generations.name_of(night) for night in nights[:2]}
    assert generations.name_of(EVE) == "20261231T145959Z"
    assert generations.name_of(EVE + TENTH) == "20261231T150000Z"


@given(number=st.integers(0, 10**6), day=st.integers(0, 3000))
def test_every_backup_is_due_in_the_hours_in_which_no_drill_begins(number: int, day: int) -> None:
    minute, hour, *_ = default_schedule(f"tenant-{number}").split()
    due = datetime(2026, 1, 1, int(hour), int(minute), tzinfo=JST) + timedelta(days=day)
    for before_or_after in (timedelta(), timedelta(hours=1)):
        assert in_backup_window(due.astimezone(UTC) + before_or_after, TOKYO)


@pytest.mark.parametrize(
    ("moment", "closed"),
    [
        (EVE, False), (EVE + TENTH, True), (EVE + timedelta(hours=6), True), (EVE + timedelta(hours=6) + TENTH, False),
    ],
)  # fmt: skip
def test_the_hours_of_backups_end_and_begin_to_the_microsecond(moment: datetime, closed: bool) -> None:
    for zone in (UTC, JST, timezone(timedelta(hours=-8))):
        assert in_backup_window(moment.astimezone(zone), TOKYO) is closed


@given(
    due=st.integers(0, 10**6).map(lambda minute: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)),
    late=st.floats(-30, 24 * 3600 - 1),
)
def test_a_missed_backup_that_is_caught_up_is_still_one_of_the_schedule(due: datetime, late: float) -> None:
    named = job.Job("a", Path(), Path(), Path(), name=f"backup-a-{int(due.timestamp()) // 60}")
    assert named.kind(due + timedelta(seconds=late)) == "daily"
    assert named.kind(due - timedelta(seconds=31)) == "extra", "a node's clock may be a little behind, and no more"
    assert named.kind(due + timedelta(days=1)) == "extra"


@given(now=around_midnight(), grace=st.integers(0, 30))
def test_the_time_to_undo_is_whole_and_ends_at_the_same_time_of_day_in_japan(now: datetime, grace: int) -> None:
    since, until = dates(tenant(state="Cancelled"), now, grace)
    assert timedelta() <= now - since < timedelta(seconds=1)
    assert until - since == timedelta(days=grace)
    assert until - since <= timedelta(days=30)
    assert until.astimezone(JST).time() == since.astimezone(JST).time()
    known = tenant(state="Cancelled", status={"cancelledAt": jst(since), "eraseAfter": jst(until)})
    # Looked at again whenever, with whatever setting: what was promised stays, or comes earlier.
    assert dates(known, now + timedelta(days=3), grace) == (since, until)
    assert dates(known, now + timedelta(days=3), 30)[1] == until
    assert dates(known, now, 0)[1] == min(since, until)


@pytest.mark.parametrize(
    ("until", "said"),
    [(EVE, "2026年12月31日 23:59"), (EVE + TENTH, "2027年01月01日 00:00"), (EVE + TENTH * 600, "2027年01月01日 00:00")],
)
def test_a_letter_names_the_day_in_japan_and_promises_no_minute_too_many(until: datetime, said: str) -> None:
    status = {"cancelledAt": jst(until - timedelta(days=14)), "eraseAfter": jst(until), "url": "https://a.example"}
    known: ElinkTenant = tenant(state="Cancelled", status=status)
    letter = build_letter(known, "Cancelled", sender="elink@elink.example", to="a@b.example", now=EVE.astimezone(UTC))
    assert f"{said}(日本時間)" in letter.get_content()
    assert letter["Date"] == "Thu, 31 Dec 2026 23:59:59 +0900"


def test_records_and_programs_tell_the_time_in_japan_without_rounding_it_up() -> None:
    for tell in (jst, report.jst):
        assert tell(EVE.astimezone(UTC)) == "2026-12-31T23:59:59+09:00"
        assert tell((EVE + TENTH).astimezone(UTC)) == "2027-01-01T00:00:00+09:00"


def test_changes_of_a_day_are_those_of_the_day_in_japan() -> None:
    about = About("ElinkTenant", "aozora", "1", "shared-1")
    made = [
        build_change(about, key=str(n), what="Created", who="a", now=at.astimezone(UTC), generation=n, summary="x")
        for n, at in enumerate((EVE, EVE + TENTH), 1)
    ]
    told = [spec.at for spec in chosen(made, "", "", start_of("2027-01-01"))]
    assert told == ["2027-01-01T00:00:00+09:00"]
    assert len(chosen(made, "", "", start_of("2026-12-31"))) == 2
    assert len(chosen(made, "", "", start_of("2026-12-31T15:00:00+00:00"))) == 1
