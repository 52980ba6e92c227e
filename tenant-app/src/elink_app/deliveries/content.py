"""What is approved: the content of a delivery and its fingerprint. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
    attachments: Sequence[Mapping[str, Any]]


def fingerprint(content: Content) -> bytes:
    """SHA-256 over subject, both parts, sender, category, segment, whether links are counted and the files; any change
    makes another one."""
    parts: list[Any] = [
        content.subject, content.text_body, content.html_body, content.from_name, content.from_address,
        content.reply_to, content.category, content.segment,
    ]  # fmt: skip
    # What was approved by an earlier release, which had no such switch and no files, stays approved.
    if content.count_clicks:
        parts.append("count_clicks")
    if content.attachments:
        seen = ("name", "media_type", "size", "sha256")
        parts.append({"attachments": [[one[name] for name in seen] for one in content.attachments]})
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
