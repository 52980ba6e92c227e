"""What became of a mail that was given up, told by what its sender noted."""

from __future__ import annotations

import re
from enum import StrEnum

from elink_app.attachments.files import REASON as LOST

EXPIRED = "not sent before it expired"
# The function elink_disarm() writes it (migration 0010).
RESTORED = "restored"
_REPLY = re.compile(r"[2-5][0-9][0-9]( |\Z)")


class Reason(StrEnum):
    """Why it was given up."""

    REFUSED = "refused"
    NOT_HANDED_OVER = "not_handed_over"
    EXPIRED = "expired"
    RESTORED = "restored"
    ATTACHMENT_MISSING = "attachment_missing"


_OURS = {EXPIRED: Reason.EXPIRED, RESTORED: Reason.RESTORED, LOST: Reason.ATTACHMENT_MISSING}


def reason_of(error: str) -> tuple[Reason, str]:
    """Why, and the words of the mail server when it said some.

    Other words are our own about machines and networks: no concern of those who use the service.
    """
    if _REPLY.match(error):
        return Reason.REFUSED, error
    return _OURS.get(error, Reason.NOT_HANDED_OVER), ""
