"""Reports about mails: delivery status (RFC 3464) and complaints (RFC 5965), out of whatever a stranger sends."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from enum import StrEnum

from elink_app.mail.headers import one_line

_WORDS = 500
_MOST_PARTS = 50
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
# Addresses that are wrong or closed, domains that take no mail. A full mailbox or a filter may change its mind.
_HARD = re.compile(r"5\.(1\.(1|2|3|6|10)|2\.1|4\.4)\Z")


class ReportKind(StrEnum):
    """What a report says. `DELAYED` is no bounce: the mail is still under way."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"


@dataclass(frozen=True)
class Report:
    """`status` is the enhanced code (`5.1.1`) or empty; `words` are the other side's own, on one line."""

    kind: ReportKind
    status: str = ""
    words: str = ""

    @property
    def hard(self) -> bool:
        """True when the address will not work next time either."""
        return self.kind is ReportKind.FAILED and bool(_HARD.match(self.status))


_ACTIONS = {
    "failed": ReportKind.FAILED,
    "delayed": ReportKind.DELAYED,
    "delivered": ReportKind.DELIVERED,
    "relayed": ReportKind.DELIVERED,
    "expanded": ReportKind.DELIVERED,
}
_GRAVITY = list(ReportKind)


def read_report(data: bytes) -> Report | None:
    """The gravest report in a mail, or None when it is no report (an automatic reply, spam). Never raises."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        reports = list(_reports(message))
    except (Exception, RecursionError):
        # The parser is asked to read what strangers wrote to break it.
        return None
    return min(reports, key=lambda report: _GRAVITY.index(report.kind), default=None)


def _reports(message: Message) -> Iterator[Report]:
    for number, part in enumerate(message.walk()):
        if number >= _MOST_PARTS:
            return
        kind = part.get_content_type()
        if kind == "message/delivery-status":
            for block in _blocks(part):
                report = _delivery_status(block)
                if report is not None:
                    yield report
        elif kind == "message/feedback-report":
            for block in _blocks(part):
                feedback = _field(block, "Feedback-Type").lower()
                if feedback and feedback != "not-spam":
                    yield Report(ReportKind.COMPLAINT, "", feedback[:_WORDS])


def _blocks(part: Message) -> list[Message]:
    """Groups of fields; the parser gives them as messages without bodies."""
    payload = part.get_payload()
    if isinstance(payload, list):
        return [block for block in payload[:_MOST_PARTS] if isinstance(block, Message)]
    return []


def _delivery_status(block: Message) -> Report | None:
    action = _ACTIONS.get(_field(block, "Action").split(" ")[0].lower())
    if action is None:
        return None
    found = _STATUS.search(_field(block, "Status"))
    words = _field(block, "Diagnostic-Code").partition(";")[2].strip() or _field(block, "Diagnostic-Code")
    status = found[0] if found else ""
    if action is ReportKind.FAILED and status.startswith("4."):
        # "Gave up after retrying": failed for this mail, but says nothing of the next.
        return Report(ReportKind.FAILED, status, words[:_WORDS])
    return Report(action, status, (words or status)[:_WORDS])


def _field(block: Message, name: str) -> str:
    return one_line(str(block.get(name, "")))
