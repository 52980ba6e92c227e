"""One job at a time per repository: an advisory lock in the database that is backed up, whatever the store is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from elink_backup import database, errors
from elink_backup.errors import BackupError
from elink_backup.job import Job

_KEY = 0x656C696E6B
"""The same number in every tenant's database: locks of different databases have nothing to do with each other."""
_PAUSE = 0.3
_ALIVE = "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6"
"""A lock of a node that died is free again after two minutes, not after two hours."""


@dataclass(frozen=True)
class Lock:
    """The session that holds the lock; it goes with the process, however that ends."""

    session: subprocess.Popen[str]

    def check(self) -> None:
        """Raise unless the lock is still held: a database that restarted has let it go."""
        if self.ask("SELECT 't'") != "t":
            raise BackupError("the database closed the session that kept other backups away", errors.DATABASE_AWAY)

    def ask(self, statement: str) -> str:
        """One value; empty when the session has ended."""
        if self.session.stdin is None or self.session.stdout is None:
            return ""
        try:
            self.session.stdin.write(statement + ";\n")
            self.session.stdin.flush()
        except OSError:
            return ""
        return self.session.stdout.readline().strip()


@contextmanager
def alone(job: Job) -> Iterator[Lock]:
    """Hold the tenant's lock; another job is waited for. Raises `BackupError`."""
    deadline = time.monotonic() + job.patience
    with database.login(job, job.secret("database")) as environ:
        command = ["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env=environ,
        ) as session:  # fmt: skip
            try:
                lock = Lock(session)
                while (answer := lock.ask(f"{_ALIVE}; SELECT pg_try_advisory_lock({_KEY})")) != "t":
                    if answer != "f":
                        said = session.communicate()[1]
                        raise BackupError(f"psql failed: {' '.join(said.split())[-500:]}", errors.database_reason(said))
                    if time.monotonic() >= deadline:
                        raise BackupError("another backup is still running", errors.STILL_RUNNING)
                    time.sleep(_PAUSE)
                yield lock
            finally:
                session.kill()
                if session.stdin is not None:
                    with suppress(OSError):  # what it did not take any more
                        session.stdin.close()
