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
    with dump.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    manifest = {**facts, "dump": {"bytes": dump.stat().st_size, "sha256": digest}}
    (source / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
