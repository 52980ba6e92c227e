"""Business days in Japan: no Saturday, Sunday or public holiday. Pure functions."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import jpholiday

from elink_app.clock import JST

MORNING = time(9, 0)
_SATURDAY = 5


def is_business_day(day: date) -> bool:
    """True from Monday to Friday, except public holidays (substitute ones too) and 29 December to 3 January."""
    if day.weekday() >= _SATURDAY or (day.month, day.day) in ((12, 29), (12, 30), (12, 31), (1, 2), (1, 3)):
        return False
    return not jpholiday.is_holiday(day)


def next_business_morning(now: datetime) -> datetime:
    """9:00 JST of the first business day that is still to come, in UTC; today counts before 9:00."""
    local = now.astimezone(JST)
    day = local.date() if local.time() < MORNING else local.date() + timedelta(days=1)
    while not is_business_day(day):
        day += timedelta(days=1)
    return datetime.combine(day, MORNING, tzinfo=JST).astimezone(UTC)
