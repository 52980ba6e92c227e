"""When a tenant's backup runs, if its owner did not choose, and when its newest backup is restored on trial."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

WINDOW_START_HOUR: Final = 1
WINDOW_HOURS: Final = 4
_WINDOW_MINUTES: Final = WINDOW_HOURS * 60
_EDGE: Final = timedelta(hours=1)
"""Before and after the window: a drill that begins late would meet a backup, and backups run over."""
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


def default_schedule(name: str) -> str:
    """A daily cron expression between 01:00 and 04:59, fixed by the tenant's name.

    Spread by hash, so that the backups of a full server do not start in the same minute.
    """
    offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % _WINDOW_MINUTES
    return f"{offset % 60} {WINDOW_START_HOUR + offset // 60} * * *"


def in_backup_window(moment: datetime, zone: str) -> bool:
    """Whether backups may be running, in the customers' time."""
    local = moment.astimezone(ZoneInfo(zone))
    opens = local.replace(hour=WINDOW_START_HOUR, minute=0, second=0, microsecond=0)
    return opens - _EDGE <= local < opens + timedelta(hours=WINDOW_HOURS) + _EDGE


def drill_slot(name: str, period: timedelta, moment: datetime) -> datetime:
    """The newest of a tenant's moments for a drill, one per period, at or before `moment`.

    Fixed by the tenant's name, so that the drills of many tenants are spread evenly.
    """
    share = int.from_bytes(hashlib.sha256(f"drill {name}".encode()).digest()[:8], "big") / 2**64
    first = _EPOCH - period + share * period
    return first + (moment - first) // period * period
