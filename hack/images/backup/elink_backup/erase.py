"""`elink-erase`: removes one tenant's directory, what restores left of it, and its backups, exactly these, looks again
and says what it found.

Exit codes: 0 nothing is left, 1 something is left or could not be removed, 2 wrong environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from elink_backup.folders import gone_name, kept_name, restore_name
from elink_backup.job import ID
from elink_backup.report import jst, now, report


def erase_folder(parent: Path, name: str) -> int:
    """Remove `parent/name` and all in it; returns how many files there were. Raises `OSError` when it cannot.

    A symbolic link of that name is removed as a link: what it points to is somebody else's.
    """
    target = parent / name
    if target.is_symlink() or target.is_file():
        target.unlink()
        return 1
    if not target.exists():
        return 0
    files = sum(len(names) for _, _, names in os.walk(target))
    shutil.rmtree(target)
    return files


def _snapshots(folder: Path) -> list[str]:
    """Short IDs of all snapshots in a tenant's repository: their files are named so, which needs no key."""
    found = folder / "repository" / "snapshots"
    return sorted(path.name[:8] for path in found.iterdir()) if found.is_dir() else []


def main() -> int:
    """Erase the tenant in ELINK_TENANT_ID from ELINK_FILES (/files) and ELINK_STORE (/backup; empty: none)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    name = os.environ.get("ELINK_TENANT_ID", "")
    if not ID.fullmatch(name):
        report(result="error", message="ELINK_TENANT_ID is not the ID of a tenant")
        return 2
    files, store = Path(os.environ.get("ELINK_FILES", "/files")), os.environ.get("ELINK_STORE", "/backup")
    places = {
        "directory": files / name,
        "restored": files / restore_name(name),
        "kept": files / kept_name(name),
        "gone": files / gone_name(name),
    }
    if store:
        places["backups"] = Path(store) / name
    began = jst(now())
    removed: dict[str, int] = {}
    try:
        for parent in {path.parent for path in places.values()}:
            if not parent.is_dir():
                raise OSError(f"{parent} is not mounted")  # an unknown answer must not pass for an empty one
        generations = _snapshots(places["backups"]) if "backups" in places else []
        for what, path in places.items():
            removed[what] = erase_folder(path.parent, path.name)
    except OSError as error:
        report(result="error", tenant=name, removed=removed, message=str(error))
        return 1
    left = [what for what, path in places.items() if os.path.lexists(path)]
    report(
        result="error" if left else "ok",
        tenant=name,
        began=began,
        looked_again=jst(now()),
        removed=removed,
        generations=generations,
        left=left,
    )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
