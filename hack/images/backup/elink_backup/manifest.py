"""What lies beside a dump, so that a copy of it can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elink_backup.repository import DUMP, MANIFEST


def write_manifest(source: Path, facts: Mapping[str, Any]) -> None:
    """Write `facts`, and size and checksum of the dump in `source`."""
    dump = source / DUMP
    manifest = {**facts, "dump": {"bytes": dump.stat().st_size, "sha256": sha256_of(dump)}}
    (source / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The checksum of a file, which need not fit into memory."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
