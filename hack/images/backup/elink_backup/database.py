"""Dump and restore of a tenant's database, and facts by which two copies are compared."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.job import Job

Facts = dict[str, tuple[int, str]]
"""Table → rows, and a checksum of them that does not depend on their order."""

_SEQUENCES = "(sequences)"
_PIPE = 64 << 10
"""As much as a pipe of Linux holds."""
_MASK = (1 << 128) - 1
_EMPTY = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
  AND c.relkind IN ('r', 'p')
"""


def dump(job: Job, target: Path) -> None:
    """One consistent dump in the custom format. Not compressed: restic does that, and finds what did not change."""
    with login(job, job.secret("database")) as environ:
        _run(["pg_dump", "--format=custom", "--compress=0", "--no-password", f"--file={target}"], environ)


@contextmanager
def filling(job: Job, database: str) -> Iterator[IO[bytes]]:
    """Fill the empty `database`, all of it or nothing, from the dump that is written to what this yields, and closed.

    An error in the block ends it. Its own failure is the one that is raised when that came first.
    """
    with login(job, database) as environ, tempfile.TemporaryFile() as said:
        if _run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", _EMPTY], environ).strip() != "0":
            raise BackupError(f"database {database} is not empty: a restore goes into an empty one only")
        command = [
            "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", "--no-password",
            f"--dbname={database}",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, env=environ)
        assert process.stdin is not None  # noqa: S101 - for the type checker
        broken: BaseException | None = None
        try:
            yield process.stdin
        except BaseException as error:
            if not isinstance(error.__cause__, BrokenPipeError):
                process.kill()
                raise
            broken = error  # it takes no more, and says why
        finally:
            with suppress(OSError):
                process.stdin.close()
            process.wait()
        said.seek(0)
        _judge("pg_restore", process.returncode, said.read().decode(errors="replace"))
        if broken is not None:
            raise broken


def disarm(job: Job, database: str) -> dict[str, int]:
    """Hold what `database` would send by itself: how many deliveries and mails were held. Repeating it holds no more.

    The function comes with the newest migration, so an older generation is migrated before.
    """
    with login(job, database) as environ:
        command = "SELECT deliveries, mails FROM elink_disarm()"
        said = _run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", command], environ)
    deliveries, mails = said.strip().split("|")
    return {"deliveries": int(deliveries), "mails": int(mails)}


def rows(job: Job, statements: Sequence[str]) -> str:
    """What the statements answer, a line for each row, all of one moment."""
    begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    commands = [word for statement in (begin, *statements) for word in ("-c", statement)]
    with login(job, job.secret("database")) as environ:
        return _run(["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", *commands], {**environ, "PGCLIENTENCODING": "UTF8"})


def facts_of_dump(source: Path) -> Facts:
    """Rows and checksum of every table in a dump, which is read to its last byte."""
    with _lines(["pg_restore", "--data-only", "--file=-", str(source)], dict(os.environ)) as lines:
        return count(lines)


def facts_of_database(job: Job, database: str) -> Facts:
    """The same of a live database."""
    with (
        login(job, database) as environ,
        _lines(["pg_dump", "--data-only", "--no-password"], environ) as lines,
    ):
        return count(lines)


def count(lines: Iterable[bytes]) -> Facts:
    """Rows and checksums out of a data script as pg_dump and pg_restore write it."""
    found: dict[str, list[int]] = {}
    table: list[int] | None = None
    for line in lines:
        if table is not None:
            if line == b"\\.\n":
                table = None
            else:
                _add(table, line)
        elif line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
            table = found.setdefault(line[5:].split(b" (", 1)[0].decode(errors="replace"), [0, 0])
        elif line.startswith(b"SELECT pg_catalog.setval("):
            _add(found.setdefault(_SEQUENCES, [0, 0]), line)
    if table is not None:
        raise BackupError("the dump ends in the middle of a table", errors.STORE_DAMAGED)
    return {name: (rows, f"{total:032x}") for name, (rows, total) in sorted(found.items())}


def differences(wanted: Facts, found: Facts) -> list[str]:
    """What differs, table by table."""
    said = []
    for name in sorted(wanted.keys() | found.keys()):
        before, after = wanted.get(name), found.get(name)
        if before is None or after is None:
            said.append(f"{name} is {'new' if before is None else 'missing'}")
        elif before[0] != after[0]:
            said.append(f"{name} has {after[0]} rows instead of {before[0]}")
        elif before[1] != after[1]:
            said.append(f"{name} has other rows")
    return said


def _add(table: list[int], line: bytes) -> None:
    table[0] += 1
    table[1] = (table[1] + int.from_bytes(hashlib.blake2b(line, digest_size=16).digest())) & _MASK


@contextmanager
def login(job: Job, database: str) -> Iterator[dict[str, str]]:
    """The environment of a PostgreSQL client; the password is in a file that goes with it."""
    with tempfile.NamedTemporaryFile("w", prefix="pgpass-") as passfile:
        # Not in the environment or the arguments: both can be read by others of the same user.
        escaped = job.secret("password").replace("\\", "\\\\").replace(":", "\\:")
        passfile.write(f"*:*:*:*:{escaped}\n")
        passfile.flush()
        yield {
            **os.environ,
            "PGPASSFILE": passfile.name,
            "PGCONNECT_TIMEOUT": "15",
            "PGHOST": job.secret("host"),
            "PGPORT": job.secret("port"),
            "PGUSER": job.secret("username"),
            "PGDATABASE": database,
        }


def _run(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, env=environ
    )
    _judge(command[0], done.returncode, done.stderr)
    return done.stdout


@contextmanager
def _lines(command: list[str], environ: dict[str, str]) -> Iterator[Iterable[bytes]]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environ, bufsize=_PIPE)
        assert process.stdout is not None  # noqa: S101 - for the type checker
        try:
            yield process.stdout
            code = process.wait()
            said.seek(0)
            _judge(command[0], code, said.read().decode(errors="replace"))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()


def _judge(program: str, code: int, said: str) -> None:
    if code != 0:
        raise BackupError(f"{program} failed: {' '.join(said.split())[-500:]}", errors.database_reason(said))
