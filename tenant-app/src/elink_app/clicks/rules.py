"""What a visit of a counted link looks like. Nobody can know: filters and scanners of mails open links too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

# After the end of a delivery. Then only the counts stay.
COUNTED_FOR = timedelta(days=30)
# Fewer recipients than this would tell what one of them did.
FEWEST_RECIPIENTS = 5
# Whoever reads a mail does not press sooner; what looks into it at the door does.
SOONEST = timedelta(seconds=15)
# One person does not open two links of a mail so fast.
BURST = timedelta(seconds=1)
_PURPOSES = ("purpose", "sec-purpose", "x-purpose", "x-moz")
_AHEAD = ("prefetch", "prerender", "preview")


class Visit(StrEnum):
    """`late`: after the time of counting; `lost`: the database did not take it; `head` asks for no content."""

    HUMAN = "human"
    MACHINE = "machine"
    HEAD = "head"
    LATE = "late"
    LOST = "lost"


def is_fetched_ahead(headers: Mapping[str, str]) -> bool:
    """True when the visitor says that nobody has pressed yet."""
    return any(word in headers.get(name, "").lower() for name in _PURPOSES for word in _AHEAD)


def is_burst(now: datetime, others_seen_at: list[datetime]) -> bool:
    """`others_seen_at`: the newest visit of each other link of the same recipient, in whatever order they are told."""
    return any(abs(now - seen_at) < BURST for seen_at in others_seen_at)


def is_too_soon(now: datetime, mail_at: datetime) -> bool:
    """`mail_at`: when the mail was handed over, or whatever happened to it last."""
    return now - mail_at < SOONEST
