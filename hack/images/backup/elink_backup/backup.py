"""`elink-backup`: one backup of one tenant; `elink-backup list`: what is in the store.

Exit codes: 0 done, 1 failed (older generations are untouched), 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elink_backup import store
from elink_backup.report import jst, now, report

_SPARE_BYTES = 64 << 20
"""Room that must stay free on the store: a full store breaks every tenant's backup, not only this one's."""


class BackupError(Exception):
    """The backup failed; the message says what to do."""


@dataclass(frozen=True)
class Job:
    """What to back up and where to."""

    tenant: str
    keep: int
    secrets: Path
    store: Path
    files: Path
    compress: str = "zstd:3"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Job:
        """Read ELINK_TENANT_ID, _GENERATIONS, _SECRET_DIR, _STORE, _FILES, _COMPRESS; KeyError names a missing one."""
        return cls(
            environ["ELINK_TENANT_ID"],
            int(environ.get("ELINK_GENERATIONS", "7")),
            Path(environ.get("ELINK_SECRET_DIR", "/run/secrets/elink")),
            Path(environ.get("ELINK_STORE", "/backup")),
            Path(environ.get("ELINK_FILES", "/files")),
            environ.get("ELINK_COMPRESS", cls.compress),  # pg_dump 15 and older know no zstd
        )

    def secret(self, key: str) -> str:
        """One value of the tenant's Secret."""
        return (self.secrets / key).read_text(encoding="utf-8").strip()


def back_up(job: Job) -> store.Generation:
    """Make one generation and keep the newest `job.keep`. Raises `BackupError`; a failure displaces nothing."""
    started = now()
    name = store.name_of(started)
    with (job.store / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("another backup of this tenant is running; this one is not needed") from None
        store.clear_unfinished(job.store)
        _check_room(job)
        unfinished = Path(tempfile.mkdtemp(prefix=store.UNFINISHED, dir=job.store))
        try:
            _dump_database(job, unfinished / "database.dump")
            _archive_files(job.files, unfinished / "files.tar.zst")
            _write_manifest(job, unfinished, jst(started))
            _check(unfinished)
            store.publish(unfinished, name)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        store.prune(job.store, job.keep)
    made = [g for g in store.generations(job.store) if g.name == name]
    if not made:
        raise BackupError(f"generation {name} was written but is not complete in the store")
    return made[0]


def _check_room(job: Job) -> None:
    present = store.generations(job.store)
    needed = (present[-1].bytes if present else 0) + _SPARE_BYTES
    free = shutil.disk_usage(job.store).free
    if free < needed:
        raise BackupError(f"the store has {free >> 20} MiB free and {needed >> 20} MiB are needed: enlarge the volume")


def _dump_database(job: Job, target: Path) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="pgpass-") as passfile:
        # Not in the environment or the arguments: both can be read by others of the same user.
        escaped = job.secret("password").replace("\\", "\\\\").replace(":", "\\:")
        passfile.write(f"*:*:*:*:{escaped}\n")
        passfile.flush()
        _run(
            "pg_dump", "--format=custom", f"--compress={job.compress}", "--no-password", f"--file={target}",
            f"--host={job.secret('host')}", f"--port={job.secret('port')}",
            f"--username={job.secret('username')}", f"--dbname={job.secret('database')}",
            PGPASSFILE=passfile.name, PGCONNECT_TIMEOUT="15",
        )  # fmt: skip


def _archive_files(source: Path, target: Path) -> None:
    with target.open("wb") as out:
        tar = subprocess.Popen(
            ["tar", "--create", "--sort=name", "--numeric-owner", f"--directory={source}", "."],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        packed = subprocess.run(["zstd", "-q", "-3", "-c"], stdin=tar.stdout, stdout=out, check=False)
        _, complaint = tar.communicate()
    # 1: a file changed while it was read, which is normal for a tenant at work.
    if tar.returncode not in (0, 1) or packed.returncode != 0:
        raise BackupError(f"the files could not be archived: {complaint.decode(errors='replace').strip()[:500]}")


def _write_manifest(job: Job, folder: Path, started: str) -> None:
    facts = {path.name: store.file_facts(path) for path in sorted(folder.iterdir())}
    manifest = {
        "tenant": job.tenant,
        "started": started,
        "finished": jst(now()),
        "pg_dump": _run("pg_dump", "--version").strip(),
        "files": facts,
    }
    (folder / store.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")


def _check(folder: Path) -> None:
    """Read both archives back before they count as a backup."""
    if "TABLE DATA" not in _run("pg_restore", "--list", str(folder / "database.dump")):
        raise BackupError("the dump holds no table data: is the database migrated?")
    unpacked = subprocess.Popen(["zstd", "-q", "-d", "-c", str(folder / "files.tar.zst")], stdout=subprocess.PIPE)
    listed = subprocess.run(["tar", "--list"], stdin=unpacked.stdout, capture_output=True, check=False)
    if unpacked.wait() != 0 or listed.returncode != 0:
        raise BackupError("the archive of files cannot be read back")


def _run(*command: str, **environ: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environ})
    if done.returncode != 0:
        raise BackupError(f"{command[0]} failed: {done.stderr.strip()[:500]}")
    return done.stdout


def summary(folder: Path) -> dict[str, object]:
    """What is in the store: number of generations, the newest one's time (RFC 3339, UTC) and all bytes."""
    present = store.generations(folder)
    newest = present[-1].made.strftime("%Y-%m-%dT%H:%M:%SZ") if present else None
    return {"generations": len(present), "newest": newest, "bytes": sum(g.bytes for g in present)}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="elink-backup", description="Back up one tenant, or list its generations.")
    parser.add_argument("action", nargs="?", choices=["run", "list"], default="run")
    action = parser.parse_args().action
    try:
        job = Job.from_environment(os.environ)
    except (KeyError, ValueError) as error:
        report(result="error", message=f"the environment is incomplete: {error}")
        return 2
    if action == "list":
        report(
            result="listed",
            tenant=job.tenant,
            names=[g.name for g in store.generations(job.store)],
            **summary(job.store),
        )
        return 0
    try:
        made = back_up(job)
    except (BackupError, OSError) as error:
        with suppress(OSError):
            report(result="error", tenant=job.tenant, message=str(error), **summary(job.store))
        return 1
    report(result="ok", tenant=job.tenant, made=made.name, **summary(job.store))
    return 0


if __name__ == "__main__":
    sys.exit(main())
