"""`elink-erase-journals`: takes one tenant's lines out of the delivery journals, looks again and says what it found.

A journal (one JSON list per line, the tenant's name second) belongs to the worker that holds its lock; that worker lets
go of a tenant that is gone by itself, so a journal that is held is tried again for a while.
Exit codes: 0 nothing is left, 1 something is left or could not be read, 2 wrong environment.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from elink_backup.job import NAME
from elink_backup.report import jst, now, report

_PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.5
_NEW = ".new"


def names_tenant(line: bytes, tenant: str) -> bool:
    """Whether a line is about exactly this tenant. A torn line counts when the name stands in it as a whole."""
    return named(line, (tenant,)) is not None


def named(line: bytes, tenants: Iterable[str]) -> str | None:
    """Which of the tenants a line is about, in the same sense; None: another one."""
    try:
        parts = json.loads(line)
    except ValueError:
        return next((tenant for tenant in tenants if f'"{tenant}"'.encode() in line), None)
    about = parts[1] if isinstance(parts, list) and len(parts) > 1 else None
    return next((tenant for tenant in tenants if tenant == about), None)


def count(path: Path, tenant: str) -> int:
    """How many lines of a journal are about the tenant; none when the journal is gone."""
    try:
        return sum(names_tenant(line, tenant) for line in path.read_bytes().splitlines())
    except FileNotFoundError:
        return 0


def erase_lines(path: Path, tenant: str) -> int | None:
    """Take the tenant's lines out; returns how many, None while the journal is held by a worker.

    The other lines go to a new file that takes the old one's place in one step: a kill loses none of them.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    with os.fdopen(fd, "rb") as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not path.exists() or path.stat().st_ino != os.fstat(fd).st_ino:
            return None  # replaced or removed meanwhile: look again
        lines = file.read().splitlines(keepends=True)
        kept = [line for line in lines if not names_tenant(line.rstrip(b"\n"), tenant)]
        if len(kept) == len(lines):
            return 0
        if kept:
            new = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_NEW}")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as target:
                target.writelines(kept)
                target.flush()
                os.fsync(target.fileno())
            os.replace(new, path)
        else:
            path.unlink()
        return len(lines) - len(kept)


def erase_all(folder: Path, tenant: str, patience: float = _PATIENCE_SECONDS) -> tuple[int, list[str]]:
    """Erase the tenant's lines from every journal; returns how many, and the journals that still have some."""
    deadline = time.monotonic() + patience
    removed = 0
    while True:
        left = [path for path in journals(folder) if count(path, tenant)]
        for path in left:
            removed += erase_lines(path, tenant) or 0
        left = [path for path in journals(folder) if count(path, tenant)]
        if not left or time.monotonic() > deadline:
            return removed, [path.name for path in left]
        time.sleep(_PAUSE_SECONDS)


def journals(folder: Path) -> list[Path]:
    """Every journal, and what a killed run of this program left half-written."""
    return sorted(path for path in folder.iterdir() if path.name.endswith((".journal", _NEW)) and not path.is_symlink())


def main() -> int:
    """Erase the lines of the tenant in ELINK_TENANT from the journals in ELINK_JOURNALS (/journals)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tenant = os.environ.get("ELINK_TENANT", "")
    if not NAME.fullmatch(tenant):
        report(result="error", message="ELINK_TENANT is not the name of a tenant")
        return 2
    folder = Path(os.environ.get("ELINK_JOURNALS", "/journals"))
    try:
        if not folder.is_dir():
            raise OSError(f"{folder} is not mounted")  # an unknown answer must not pass for an empty one
        patience = float(os.environ.get("ELINK_PATIENCE_SECONDS", _PATIENCE_SECONDS))
        removed, left = erase_all(folder, tenant, patience)
    except OSError as error:
        report(result="error", tenant=tenant, message=str(error))
        return 1
    report(result="error" if left else "ok", tenant=tenant, lines=removed, left=left, looked_again=jst(now()))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
