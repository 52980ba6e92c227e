"""Times as people in Japan read them."""

from datetime import datetime, timedelta, timezone
from typing import Final

JST: Final = timezone(timedelta(hours=9), "JST")


def jst(moment: datetime | None) -> str:
    """RFC 3339 in Japan Standard Time with its offset and seconds; empty for None."""
    return moment.astimezone(JST).isoformat(timespec="seconds") if moment is not None else ""
