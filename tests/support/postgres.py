"""A real PostgreSQL on loopback for tests: its own data folder, port and unprivileged user; gone when the test ends."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.support.ports import free_port

_ADMIN_PASSWORD = "operator-password"
_APP_PASSWORD = "app-password"
_SUPERUSER = "postgres"


def find_program(name: str) -> str:
    """The newest installed PostgreSQL's program; fails the test with the command that installs it."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which(name)
    if found:
        return str(found[-1])
    if on_path:
        return on_path
    pytest.fail(f"PostgreSQL's {name} is missing: run 'make prerequisites'")


@dataclass
class Postgres:
    """A running server. `superuser` is for the test's own looking around; the operator gets `admin` only."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    admin: str = "elink_operator"
    admin_password: str = _ADMIN_PASSWORD
    app_password: str = _APP_PASSWORD
    backup_password: str = "backup-password"
    superuser: str = _SUPERUSER
    running: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", user: str = _SUPERUSER, password: str = _ADMIN_PASSWORD) -> str:
        """A libpq URL; the superuser's password is the administrator's."""
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"

    async def connect(
        self, database: str = "postgres", user: str = _SUPERUSER, password: str = _ADMIN_PASSWORD
    ) -> asyncpg.Connection:
        """A connection as the superuser, or as another role."""
        return await asyncpg.connect(
            host=self.host, port=self.port, user=user, password=password, database=database, timeout=10
        )

    def start(self) -> None:
        """Start the server and wait until it answers. The kernel kills it when the test process dies."""
        with (self.folder / "log").open("ab") as log:
            self.running = subprocess.Popen(
                _as_postgres([find_program("postgres"), "-D", str(self.folder / "data")], "--pdeathsig", "KILL"),
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        ready = [find_program("pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self.running.poll() is None, f"PostgreSQL ended: {(self.folder / 'log').read_text()[-3000:]}"
            assert time.monotonic() < deadline, "PostgreSQL does not answer after 60 s"
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast`, or `immediate` (as by kill -9)."""
        if self.running is None:
            return
        self.running.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        try:
            self.running.wait(60)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None

    def lose_data(self, *, fsync: bool = False) -> None:
        """The data folder is destroyed; an empty server with the operator's role takes its place, as a new pod does."""
        self.stop("immediate")
        shutil.rmtree(self.folder / "data")
        _initialise(self, fsync=fsync)
        self.start()
        _make_admin(self, superuser=False)


def _as_postgres(command: list[str], *options: str) -> list[str]:
    """The command under setpriv, as another user when this one is root: PostgreSQL refuses to run as root."""
    user = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, *options, *command] if user or options else command


@contextmanager
def running(*, fsync: bool = False, superuser_admin: bool = False) -> Iterator[Postgres]:
    """A new server. `fsync` off makes tests quick; benchmarks turn it on."""
    folder = Path(tempfile.mkdtemp(prefix="elink-pg-"))
    try:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o755)
        postgres = Postgres(folder, free_port())
        _initialise(postgres, fsync=fsync)
        postgres.start()
        try:
            _make_admin(postgres, superuser=superuser_admin)
            yield postgres
        finally:
            postgres.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(postgres: Postgres, *, fsync: bool) -> None:
    data = postgres.folder / "data"
    secret = postgres.folder / "password"
    secret.write_text(_ADMIN_PASSWORD)
    secret.chmod(0o644)
    subprocess.run(
        _as_postgres(
            [
                find_program("initdb"), "-D", str(data), "-U", _SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8",
                "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
            ]
        ),
        check=True, capture_output=True, cwd=postgres.folder,
    )  # fmt: skip
    secret.unlink()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(postgres.port),
        "unix_socket_directories": str(postgres.folder),
        "fsync": "on" if fsync else "off",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "max_wal_size": "4GB" if fsync else "256MB",
        "log_timezone": "Asia/Tokyo",
        "log_statement": "ddl",
    }
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{key} = '{value}'\n" for key, value in settings.items())


def _make_admin(postgres: Postgres, *, superuser: bool) -> None:
    """The role that the operator gets: CREATEDB and CREATEROLE, as docs/external-postgresql.md demands."""
    rights = "SUPERUSER" if superuser else "CREATEDB CREATEROLE NOSUPERUSER"
    sql = (
        f"CREATE ROLE {postgres.admin} LOGIN {rights} PASSWORD '{_ADMIN_PASSWORD}';"
        "REVOKE ALL ON DATABASE postgres FROM PUBLIC; REVOKE ALL ON DATABASE template1 FROM PUBLIC;"
        f"GRANT CONNECT ON DATABASE postgres TO {postgres.admin};"
    )
    deadline = time.monotonic() + 30
    while True:
        done = subprocess.run(
            [find_program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, postgres.url()],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole test run; tests keep apart by database names."""
    with running() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of this test alone, to stop, fill or break."""
    with running() as server:
        yield server
