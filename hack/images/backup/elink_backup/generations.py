"""Which snapshots are generations, and which of them go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_NAME = re.compile(r"\d{8}T\d{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"
_CLOCKS_DIFFER = timedelta(days=1)
"""What is dated less ahead is older than the next night's all the same."""
COMPLETE = "complete"
UNPROVEN = "unproven"
"""Tag of a snapshot that was not read back yet: what a killed job leaves is no generation."""
DAMAGED = "damaged"
"""Tag of a generation of which the store has lost something; it goes again when the store has got that back."""


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of the repository with its tags."""

    id: str
    tags: Mapping[str, str]
    complete: bool
    damaged: bool = False
    """It was complete, and cannot come back as the store is now."""
    files: int | None = None
    """How many there are in it, as restic counted them when it was made; None: not known."""

    @property
    def name(self) -> str:
        """When its backup began (UTC), as `yyyymmddThhmmssZ`."""
        return self.tags.get("generation", "")

    @property
    def kind(self) -> str:
        """`daily` or `extra`."""
        return self.tags.get("kind", "daily")

    @property
    def safety(self) -> bool:
        """Made by a restore of the very data that it was about to replace."""
        return self.tags.get("safety") == "yes"

    @property
    def made(self) -> str:
        """The same as RFC 3339."""
        return datetime.strptime(self.name, _FORMAT).replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(moment: datetime) -> str:
    """The name of a generation that begins at `moment`."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def parse(found: Iterable[Mapping[str, Any]], now: datetime) -> list[Snapshot]:
    """`restic snapshots --json`, `in_order`."""
    snapshots = []
    for item in found:
        words = [str(tag) for tag in item.get("tags") or ()]
        tags = dict(word.split("=", 1) for word in words if "=" in word)
        whole = COMPLETE in words and UNPROVEN not in words
        files = (item.get("summary") or {}).get("total_files_processed")
        snapshots.append(Snapshot(str(item["id"]), tags, whole, DAMAGED in words, files))
    return in_order(snapshots, now)


def in_order(snapshots: Iterable[Snapshot], now: datetime) -> list[Snapshot]:
    """Oldest first, and before these what is dated in the future.

    A clock that once ran ahead would else have made the newest one for as long, and the ones of each following night
    would go as the oldest.
    """
    latest = name_of(now + _CLOCKS_DIFFER)
    return sorted(snapshots, key=lambda s: (s.name <= latest, s.name, s.id))


def complete(snapshots: Iterable[Snapshot], tenant: str) -> list[Snapshot]:
    """The tenant's generations, whether they can come back or not, as they come."""
    return [s for s in snapshots if s.complete and s.tags.get("tenant") == tenant and _NAME.fullmatch(s.name)]


def present(snapshots: Iterable[Snapshot], tenant: str) -> list[Snapshot]:
    """The tenant's generations that can come back, as they come. Another tenant's snapshot never counts."""
    return [s for s in complete(snapshots, tenant) if not s.damaged]


def damaged(snapshots: Iterable[Snapshot], tenant: str) -> list[Snapshot]:
    """The tenant's generations that cannot, as they come."""
    return [s for s in complete(snapshots, tenant) if s.damaged]


def doomed(snapshots: Sequence[Snapshot], tenant: str, keep: int, spare: str = "") -> list[Snapshot]:
    """What may go of snapshots that are `in_order`: of each kind all but the newest `keep` (at least 1), and what was
    never proven.

    A damaged one displaces none, and goes when `keep` newer ones that can come back, of whatever kind, are there.
    `spare`: the name of a generation that is about to be restored and stays.
    """
    keep = max(keep, 1)
    gone = [s for s in snapshots if not s.complete]
    mine = present(snapshots, tenant)
    for kind in sorted({s.kind for s in mine}):
        gone += [s for s in [s for s in mine if s.kind == kind][:-keep] if s.name != spare]
    everything = complete(snapshots, tenant)
    for place, s in enumerate(everything):
        if s.damaged and sum(not newer.damaged for newer in everything[place:]) >= keep:
            gone.append(s)
    return gone


def choose(snapshots: Iterable[Snapshot], tenant: str, wanted: str) -> Snapshot | None:
    """The generation named `wanted`; for `latest` the newest that can come back, but those that restores made of what
    they replaced.

    One of these would bring back just what a person wants to be rid of, and be found the newest again at a second try.
    """
    mine = complete(snapshots, tenant)
    if wanted == "latest":
        return next((s for s in reversed(mine) if not s.safety and not s.damaged), None)
    return next((s for s in reversed(mine) if s.name == wanted), None)
