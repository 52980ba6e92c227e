"""Which snapshots are generations, and which of them go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_NAME = re.compile(r"\d{8}T\d{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"
COMPLETE = "complete"
UNPROVEN = "unproven"
"""Tag of a snapshot that was not read back yet: what a killed job leaves is no generation."""


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of the repository with its tags."""

    id: str
    tags: Mapping[str, str]
    complete: bool

    @property
    def name(self) -> str:
        """When its backup began (UTC), as `yyyymmddThhmmssZ`."""
        return self.tags.get("generation", "")

    @property
    def kind(self) -> str:
        """`daily` or `extra`."""
        return self.tags.get("kind", "daily")

    @property
    def made(self) -> str:
        """The same as RFC 3339."""
        return datetime.strptime(self.name, _FORMAT).replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(moment: datetime) -> str:
    """The name of a generation that begins at `moment`."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def parse(found: Iterable[Mapping[str, Any]]) -> list[Snapshot]:
    """`restic snapshots --json`, oldest first."""
    snapshots = []
    for item in found:
        words = [str(tag) for tag in item.get("tags") or ()]
        tags = dict(word.split("=", 1) for word in words if "=" in word)
        snapshots.append(Snapshot(str(item["id"]), tags, COMPLETE in words and UNPROVEN not in words))
    return sorted(snapshots, key=lambda s: (s.name, s.id))


def present(snapshots: Iterable[Snapshot], tenant: str) -> list[Snapshot]:
    """The tenant's complete generations, oldest first. Another tenant's snapshot never counts."""
    return [s for s in snapshots if s.complete and s.tags.get("tenant") == tenant and _NAME.fullmatch(s.name)]


def doomed(snapshots: Sequence[Snapshot], tenant: str, keep: int) -> list[Snapshot]:
    """What may go: of each kind all but the newest `keep` (at least 1), and whatever was never proven."""
    gone = [s for s in snapshots if not s.complete]
    mine = present(snapshots, tenant)
    for kind in sorted({s.kind for s in mine}):
        gone += [s for s in mine if s.kind == kind][: -max(keep, 1)]
    return gone


def choose(snapshots: Iterable[Snapshot], tenant: str, wanted: str) -> Snapshot | None:
    """The generation named `wanted`, or the newest for `latest`."""
    mine = present(snapshots, tenant)
    if wanted == "latest":
        return mine[-1] if mine else None
    return next((s for s in reversed(mine) if s.name == wanted), None)
