"""`elink-backup`: one backup of one tenant; `list`: what is in the store; `verify`: whether all of it can be read.

Exit codes: 0 done, 1 failed (older generations are untouched), 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
    patience: float = 600
    """Seconds to wait for another backup of the same tenant: the nightly one and one made by hand may meet."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Job:
        """Read ELINK_TENANT_ID, _GENERATIONS, _SECRET_DIR, _STORE, _FILES, _COMPRESS, _PATIENCE.

        KeyError names a missing one, ValueError a wrong one.
        """
        return cls(
            environ["ELINK_TENANT_ID"],
            int(environ.get("ELINK_GENERATIONS", "7")),
            Path(environ.get("ELINK_SECRET_DIR", "/run/secrets/elink")),
            Path(environ.get("ELINK_STORE", "/backup")),
            Path(environ.get("ELINK_FILES", "/files")),
            environ.get("ELINK_COMPRESS", cls.compress),  # pg_dump 15 and older know no zstd
            float(environ.get("ELINK_PATIENCE", cls.patience)),
        )

    def secret(self, key: str) -> str:
        """One value of the tenant's Secret."""
        return (self.secrets / key).read_text(encoding="utf-8").strip()


def back_up(job: Job) -> store.Generation:
    """Make one generation and keep the newest `job.keep`. Raises `BackupError`; a failure displaces nothing."""
    with _alone(job):
        started = now()
        name = store.name_of(started)
        store.clear_unfinished(job.store)
        _check_room(job)
        unfinished = Path(tempfile.mkdtemp(prefix=store.UNFINISHED, dir=job.store))
        try:
            # The database first: a file that it names was there before it, and is there unless it was deleted since.
            _dump_database(job, unfinished / store.DUMP)
            _archive_files(job.files, unfinished / store.ARCHIVE)
            counts = read_back(unfinished)
            _write_manifest(job, unfinished, jst(started), counts)
            store.publish(unfinished, name)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        store.prune(job.store, job.keep)
    made = [g for g in store.generations(job.store) if g.name == name]
    if not made:
        raise BackupError(f"generation {name} was written but is not complete in the store")
    return made[0]


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Hold the folder's lock; another backup is waited for."""
    deadline = time.monotonic() + job.patience
    with (job.store / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BackupError("another backup of this tenant is still running") from None
                time.sleep(1)
        yield


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
    command = ["tar", "--create", "--sort=name", "--numeric-owner", "--use-compress-program=zstd -q -3 -T1",
               f"--file={target}", f"--directory={source}", "."]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # 1: a file changed while it was read, which is normal for a tenant at work.
    if done.returncode not in (0, 1):
        raise BackupError(f"the files could not be archived: {done.stderr.strip()[-500:]}")


def _write_manifest(job: Job, folder: Path, started: str, counts: Mapping[str, int]) -> None:
    manifest = {
        "tenant": job.tenant,
        "started": started,
        "finished": jst(now()),
        "pg_dump": _run("pg_dump", "--version").strip(),
        "files": {path.name: store.file_facts(path) for path in sorted(folder.iterdir())},
        **counts,
    }
    (folder / store.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")


def read_back(folder: Path) -> dict[str, int]:
    """Read a generation's archives to their last byte; how many tables and files they hold. Raises `BackupError`."""
    dump, archive = folder / store.DUMP, folder / store.ARCHIVE
    tables = _run("pg_restore", "--list", str(dump)).count(" TABLE DATA ")
    if not tables:
        raise BackupError("the dump holds no table data: is the database migrated?")
    _run("pg_restore", "--file=/dev/null", str(dump))
    members = _run("tar", "--list", "--use-compress-program=zstd -q -d", f"--file={archive}").splitlines()
    return {"tables": tables, "archived": sum(not member.endswith("/") for member in members)}


def verify(folder: Path) -> dict[str, str]:
    """Checksums and contents of every generation in the store: name → what is wrong (empty: nothing)."""
    found = {}
    for path in store.candidates(folder):
        try:
            store.check_facts(path)
            read_back(path)
            found[path.name] = ""
        except (BackupError, OSError, ValueError) as error:
            found[path.name] = str(error)[:200]
    return found


def _run(*command: str, **environ: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env={**os.environ, **environ}
    )
    if done.returncode != 0:
        raise BackupError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def summary(folder: Path) -> dict[str, object]:
    """What is in the store: number of generations, the newest one's time (RFC 3339, UTC) and all bytes."""
    present = store.generations(folder)
    newest = present[-1].made.strftime("%Y-%m-%dT%H:%M:%SZ") if present else None
    return {"generations": len(present), "newest": newest, "bytes": sum(g.bytes for g in present)}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="elink-backup", description="Back up one tenant, or look at its generations.")
    parser.add_argument("action", nargs="?", choices=["run", "list", "verify"], default="run")
    action = parser.parse_args().action
    # The first process of a container ignores signals that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job = Job.from_environment(os.environ)
    except (KeyError, ValueError) as error:
        report(result="error", message=f"the environment is incomplete: {error}")
        return 2
    return {"run": _main_run, "list": _main_list, "verify": _main_verify}[action](job)


def _main_run(job: Job) -> int:
    try:
        made = back_up(job)
    except (BackupError, OSError) as error:
        with suppress(OSError):
            report(result="error", tenant=job.tenant, message=str(error), **summary(job.store))
        return 1
    report(result="ok", tenant=job.tenant, made=made.name, **summary(job.store))
    return 0


def _main_list(job: Job) -> int:
    names = [g.name for g in store.generations(job.store)]
    report(result="listed", tenant=job.tenant, names=names, **summary(job.store))
    return 0


def _main_verify(job: Job) -> int:
    checked = verify(job.store)
    damaged = {name: wrong for name, wrong in checked.items() if wrong}
    report(result="error" if damaged else "ok", tenant=job.tenant, checked=len(checked), damaged=damaged)
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
