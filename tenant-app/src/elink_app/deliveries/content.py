"""What is approved: the content of a delivery and its fingerprint. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import orjson


class Content(Protocol):
    """Everything that a recipient sees, and who the recipients are."""

    subject: str
    text_body: str
    html_body: str
    from_name: str
    from_address: str
    reply_to: str
    category: str
    segment: Mapping[str, Any] | None
    count_clicks: bool


def fingerprint(content: Content) -> bytes:
    """SHA-256 over subject, both parts, sender, category, segment and whether links are counted; any change makes
    another one."""
    parts: list[Any] = [
        content.subject, content.text_body, content.html_body, content.from_name, content.from_address,
        content.reply_to, content.category, content.segment,
    ]  # fmt: skip
    # What was approved by an earlier release, which had no such switch, stays approved.
    if content.count_clicks:
        parts.append("count_clicks")
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
