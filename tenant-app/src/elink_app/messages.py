"""Texts for people, kept apart from the language they are shown in."""

from __future__ import annotations

from dataclasses import dataclass, field


def N_(msgid: str) -> str:
    """Mark `msgid` for extraction; it is translated where it is shown."""
    return msgid


@dataclass(frozen=True)
class Message:
    """An English msgid with named parameters, e.g. `Message(N_("At most %(max)d characters."), {"max": 9})`."""

    msgid: str
    params: dict[str, object] = field(default_factory=dict)
