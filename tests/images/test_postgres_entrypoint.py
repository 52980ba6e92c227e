"""The entry script of the PostgreSQL image, run on the host's PostgreSQL as an unprivileged user."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from elink_operator.desired.statefulset import build_postgres

from tests.operator.api import builders
from tests.operator.desired.test_golden import server_inputs
from tests.support.kubectl import eventually
from tests.support.ports import free_port
from tests.support.postgres import find_program

pytestmark = pytest.mark.postgres
SCRIPT = Path(__file__).resolve().parents[2] / "hack/images/postgres/entrypoint.sh"
PASSWORD = "p'ass\\word\"$HOME `id`"


@dataclass
class Server:
    """The script with its folders; `log` is everything that it and PostgreSQL printed."""

    root: Path
    port: int

    def start(self) -> subprocess.Popen[bytes]:
        environ = {
            **os.environ,
            "PATH": f"{Path(find_program('initdb')).parent}:/usr/bin:/bin",
            "ELINK_PG_ROOT": str(self.root / "data"),
            "ELINK_SECRETS": str(self.root / "secrets"),
            "ELINK_PG_SOCKET": str(self.root / "run"),
            "ELINK_PG_PORT": str(self.port),
            "ELINK_PG_LISTEN": "127.0.0.1",
            "ELINK_CGROUP": str(self.root / "cgroup"),
        }
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                # A run in the background ignores SIGINT, and a shell cannot trap what it was born to ignore.
                ["env", "--default-signal=INT,TERM", "unshare", "--pid", "--fork",
                 "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "sh", str(self.root / "script")],
                env=environ, stdout=log, stderr=log, cwd=self.root,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def asks(self, query: str, password: str = PASSWORD) -> object:
        async def ask() -> object:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user="elink_operator", password=password, database="postgres"
            )
            try:
                return await connection.fetchval(query)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def answers(self, user: str = "elink_operator", password: str = PASSWORD) -> bool:
        async def ask() -> bool:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=user, password=password, database="postgres", timeout=60
            )
            row = await connection.fetchrow(
                "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            )
            await connection.close()
            assert row is not None
            return tuple(row) == (False, True, True)

        return asyncio.run(ask())


@pytest.fixture
def server() -> Iterator[Server]:
    if os.geteuid() != 0:
        pytest.fail("this test changes to another user and must run as root")
    root = Path(tempfile.mkdtemp(prefix="elink-entry-"))
    account = pwd.getpwnam("postgres")
    for name in ("data", "secrets", "run"):
        (root / name).mkdir()
    (root / "secrets/username").write_text("elink_operator")
    (root / "secrets/password").write_text(PASSWORD)
    shutil.copy(SCRIPT, root / "script")
    for path in (root, *root.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    yield Server(root, free_port())
    shutil.rmtree(root)


def signal_container(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the first process of the namespace, as the kubelet does; SIGKILL takes all others with it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in eventually(lambda: children.read_text().split(), every=0.02, what="the namespace has a process"):
        os.kill(int(child), number)


def stop(process: subprocess.Popen[bytes]) -> None:
    signal_container(process, signal.SIGINT)
    process.wait(60)


def test_first_start_restart_and_new_password(server: Server) -> None:
    process = server.start()
    try:
        assert eventually(server.answers, timeout=180, what="PostgreSQL answers the operator")
    finally:
        stop(process)
    (server.root / "secrets/password").write_text("a new one")
    process = server.start()
    try:
        assert eventually(lambda: server.answers(password="a new one"), timeout=180)
        assert server.asks("SHOW recovery_init_sync_method", "a new one") == "syncfs"
        # What the operator clears an erased tenant's rows out of PostgreSQL's files with.
        assert server.asks("SHOW wal_recycle", "a new one") == "off"
        last = server.asks("SELECT pg_walfile_name(pg_switch_wal())", "a new one")
        server.asks("CHECKPOINT", "a new one")
        assert server.asks(f"SELECT count(*) FROM pg_ls_waldir() WHERE name <= '{last}'", "a new one") == 0
        with pytest.raises(asyncpg.InvalidPasswordError):
            server.answers()
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            server.answers(user="postgres")
    finally:
        stop(process)
    assert PASSWORD not in server.log
    assert "a new one" not in server.log


@pytest.mark.parametrize("after", [0.3, 1.0, 2.0])
def test_killed_while_it_makes_its_data_it_starts_later(server: Server, after: float) -> None:
    process = server.start()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(after)
    signal_container(process, signal.SIGKILL)
    process.wait(60)
    process = server.start()
    try:
        assert eventually(server.answers, timeout=180, what="PostgreSQL answers after a killed first start")
    finally:
        stop(process)


def test_recovery_of_a_large_server_is_not_cut_short_and_begun_again() -> None:
    """A container that is restarted begins its recovery anew: a limit that is shorter than that never lets it end."""
    container = build_postgres(server_inputs(builders.server()))["spec"]["template"]["spec"]["containers"][0]
    probe = container["startupProbe"]
    waits = re.search(r"pg_ctl .*-t (\d+) .*start", SCRIPT.read_text())
    assert waits is not None
    assert probe["periodSeconds"] * probe["failureThreshold"] >= int(waits[1]) >= 3600


def test_script_is_clean() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_told_to_end_while_it_prepares_it_ends_cleanly(server: Server) -> None:
    process = server.start()
    eventually(lambda: "checking the operator's role" in server.log, timeout=180, every=0.02)
    signal_container(process, signal.SIGINT)
    assert process.wait(60) in (0, 143), server.log
    assert not (server.root / "data/data/postmaster.pid").exists(), server.log


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, "64MB"), ("max", "64MB"), ("1073741824", "256MB"), ("1048576", "32MB")]
)
def test_shared_buffers_follow_the_memory_limit(server: Server, limit: str | None, expected: str) -> None:
    if limit is not None:
        (server.root / "cgroup").mkdir()
        (server.root / "cgroup/memory.max").write_text(f"{limit}\n")
    process = server.start()
    try:
        eventually(server.answers, timeout=180, what="PostgreSQL answers")
        assert server.asks("SHOW shared_buffers") == expected
        assert server.asks("SHOW log_timezone") == "Asia/Tokyo"
    finally:
        stop(process)


def test_a_folder_opened_to_the_group_is_closed_again(server: Server) -> None:
    process = server.start()
    eventually(server.answers, timeout=60)
    stop(process)
    (server.root / "data/data").chmod(0o2770)
    process = server.start()
    try:
        assert eventually(server.answers, timeout=60)
    finally:
        stop(process)
