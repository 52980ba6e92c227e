"""The life of a backup in a bucket of a real S3 store; what does not depend on the store is in test_backup."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elink_operator.objectstore import connect
from elink_operator.objectstore.signature import Login
from elink_operator.settings import Settings

from tests.images.test_backup import (
    SECRET_ROW,
    TENANT_KEY,
    Bench,
    bring_back,
    days,
    empty_database,
    make_bench,
    named,
    somebody_else_at_work,
    target,
)
from tests.support.certificates import Authority
from tests.support.kubectl import eventually
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.versitygw import REGION, Gateway, gateway

__all__ = ["target"]
pytestmark = pytest.mark.postgres
MINE, OTHER = Login("elink-aozora", "mine+/="), Login("elink-aozora-2", "other")


@dataclass
class Remote(Bench):
    """A tenant whose store is a bucket."""

    gateway: Gateway = field(default_factory=lambda: pytest.fail("no gateway"))

    @property
    def packs(self) -> Path:
        return self.gateway.bucket(MINE.access) / "repository" / "data"

    def log_in(self, login: Login) -> None:
        """What the operator writes into the Secret."""
        (self.root / "secrets" / "store-credentials").write_text(
            f"[default]\naws_access_key_id = {login.access}\naws_secret_access_key = {login.secret}\n"
        )

    def point_at(self, url: str, bucket: str = MINE.access) -> None:
        """Another endpoint or bucket."""
        self.environ["ELINK_BUCKET"] = f"{url}/{bucket}"
        self.place = f"s3:{url}/{bucket}/repository"


def provide(store: Gateway, *logins: Login) -> None:
    """An account and a bucket for each, as the operator makes them."""

    async def make() -> None:
        settings = Settings(
            backup_store="S3",
            backup_s3_endpoint=store.url,
            backup_s3_region=REGION,
            backup_s3_credentials_dir=str(store.credentials),
            backup_s3_ca_file=str(store.authority.certificate) if store.authority else "",
        )
        objects = connect(settings, lambda: datetime.now(UTC))
        assert objects is not None
        for login in logins:
            await objects.ensure_account(login)
            await objects.ensure_bucket(login.access, login.access)
        await objects.close()

    asyncio.run(make())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def bench(postgres: Postgres, tmp_path: Path, shared: Gateway) -> Iterator[Remote]:
    provide(shared, MINE, OTHER)
    yield remote(make_bench(postgres, tmp_path), shared)
    for login in (MINE, OTHER):
        for folder in ("buckets", "meta", "versions"):
            shutil.rmtree(shared.root / folder / login.access, ignore_errors=True)


def remote(made: Bench, store: Gateway) -> Remote:
    bench = Remote(made.root, made.environ, gateway=store)
    bench.environ |= {
        "ELINK_BUCKET_REGION": REGION,
        "ELINK_STORE": "/nonexistent",
        # For restic as the tests call it; the job finds the file by itself.
        "AWS_SHARED_CREDENTIALS_FILE": str(made.root / "secrets" / "store-credentials"),
        "AWS_DEFAULT_REGION": REGION,
    }
    bench.log_in(MINE)
    bench.point_at(store.url)
    return bench


def test_a_generation_comes_back_from_a_bucket(bench: Remote, target: str) -> None:
    code, said = bench.run("backup")
    assert code == 0, said
    assert said["generations"] == 1
    stored = [p for p in bench.gateway.bucket(MINE.access).rglob("*") if p.is_file()]
    assert said["bytes"] == sum(p.stat().st_size for p in stored if "repository" in p.parts)
    assert {p.name for p in stored if "spare" in p.parts} >= {"config"}, "what opens it is there twice"
    content = b"".join(path.read_bytes() for path in stored)
    assert SECRET_ROW.encode() not in content
    assert TENANT_KEY.encode() not in content
    assert bench.run("backup", "verify")[1]["damaged"] == {}
    code, back = bring_back(bench, target)
    assert (code, back["generation"], back["rows"], back["different"]) == (0, said["made"], 502, [])


def test_the_key_that_the_operator_makes_opens_a_bucket_at_once(bench: Remote, target: str) -> None:
    code, said = bench.run("backup")
    assert code == 0, said
    (listed,) = json.loads(bench.restic("key", "list", "--json"))
    assert json.loads(bench.restic("cat", "key", listed["id"]))["N"] == 2
    assert bring_back(bench, target)[0] == 0


def test_seven_stay_in_a_bucket(bench: Remote) -> None:
    days(bench, 1, 8)
    assert bench.run("backup", ELINK_JOB="before-upgrade")[0] == 0
    assert bench.names()[:-1] == named(2, 8)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("key", "WrongKey"),
        ("secret", "WrongLogin"),
        ("account", "WrongLogin"),
        ("neighbour", "WrongLogin"),
        ("file", "WrongLogin"),
        ("bucket", "StoreAway"),
        ("stranger", "StoreAway"),
    ],
)
def test_a_wrong_log_in_displaces_nothing(bench: Remote, fault: str, reason: str) -> None:
    days(bench, 1, 2)
    key = bench.root / "secrets" / "repository-key"
    right = key.read_text()
    with contextlib.ExitStack() as stack:
        if fault == "key":
            key.write_text("wrong")
        elif fault == "secret":
            bench.log_in(Login(MINE.access, "wrong-secret"))
        elif fault == "account":
            bench.log_in(Login("nobody", "wrong-secret"))
        elif fault == "neighbour":
            bench.log_in(OTHER)  # another tenant's log-in is refused at this bucket
        elif fault == "file":
            (bench.root / "secrets" / "store-credentials").write_text("wrong-secret")
        elif fault == "bucket":
            provide(bench.gateway, Login("elink-gone", MINE.secret))
            bench.log_in(Login("elink-gone", MINE.secret))
            bench.point_at(bench.gateway.url, "elink-gone-as-well")
        else:
            bench.point_at(stack.enter_context(no_s3_store()))
        code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, reason), said
    assert "wrong-secret" not in json.dumps(said)
    key.write_text(right)
    bench.log_in(MINE)
    bench.point_at(bench.gateway.url)
    assert bench.names() == named(1, 2)


@contextlib.contextmanager
def no_s3_store() -> Iterator[str]:
    """Something that answers 200 to everything, as the page of a captive portal does."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html><body>welcome</body></html>")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_damage_in_a_bucket_is_found(bench: Remote) -> None:
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    assert bench.run("backup")[0] == 0
    (name,) = bench.names()
    for pack in bench.packs.rglob("*"):
        if pack.is_file():
            content = bytearray(pack.read_bytes())
            content[: len(content) // 2] = bytes(len(content) // 2)
            pack.write_bytes(content)
    code, said = bench.run("backup", "verify")
    assert (code, list(said["damaged"])) == (1, [name])
    assert bench.names() == [name], "who only looks changes nothing"
    code, said = bench.run("backup", ELINK_JOB="mine")
    assert (code, said["generations"], said["damaged"]) == (0, 1, [name]), said


def test_a_snapshot_that_cannot_be_read_is_put_aside_in_the_bucket(bench: Remote) -> None:
    """Else restic would make no new one."""
    assert bench.run("backup")[0] == 0
    folder = bench.gateway.bucket(MINE.access)
    [snapshot] = (folder / "repository" / "snapshots").iterdir()
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    code, said = bench.run("backup", ELINK_JOB="mine")
    assert (code, said["generations"], len(said["damaged"])) == (0, 1, 1), said
    [aside] = (folder / "unreadable").iterdir()
    assert aside.name.endswith(snapshot.name)
    code, said = bench.run("backup", ELINK_GENERATIONS="1", ELINK_JOB="another")
    assert (code, said["damaged"], list((folder / "unreadable").glob("*"))) == (0, [], []), said


def test_a_bucket_that_lost_its_head_is_not_made_anew(bench: Remote) -> None:
    assert bench.run("backup")[0] == 0
    (bench.gateway.bucket(MINE.access) / "repository" / "config").unlink()
    code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "StoreDamaged")


def test_what_a_killed_init_left_in_a_bucket_is_made_anew(bench: Remote) -> None:
    bench.restic("init")
    (bench.gateway.bucket(MINE.access) / "repository" / "config").unlink()
    assert bench.run("backup")[0] == 0


def test_a_store_that_is_away_is_noticed_at_once(bench: Remote) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        bench.point_at(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "StoreAway"), said
    assert "generations" not in said, "nobody knows what is in a store that is away"


def test_only_one_at_a_time_whatever_the_store(bench: Remote, postgres: Postgres) -> None:
    with somebody_else_at_work(bench, postgres):
        code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "StillRunning")


@pytest.fixture
def own(postgres: Postgres, tmp_path: Path) -> Iterator[Remote]:
    """A tenant at a store of its own, which the test may stop."""
    with gateway(tmp_path / "own") as store:
        provide(store, MINE)
        yield remote(make_bench(postgres, tmp_path), store)


def test_a_private_authority_is_trusted_when_it_is_mounted(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    with gateway(tmp_path / "own", authority) as store:
        provide(store, MINE)
        bench = remote(make_bench(postgres, tmp_path), store)
        code, said = bench.run("backup")
        assert (code, said["reason"]) == (1, "StoreAway"), said
        shutil.copy(authority.certificate, bench.root / "secrets" / "store-ca.crt")
        code, said = bench.run("backup")
        assert (code, said.get("generations")) == (0, 1), said


def start(bench: Remote, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
    message = bench.root / "message"
    message.unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "elink_backup.backup", *arguments],
        env={**bench.environ, "ELINK_TERMINATION_LOG": str(message), **environ},
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def packs(bench: Remote) -> int:
    return sum(1 for path in bench.packs.rglob("*") if path.is_file())


def test_a_store_that_goes_away_in_the_middle(own: Remote) -> None:
    days(own, 1, 2)
    (own.files / "big").write_bytes(os.urandom(200 << 20))
    before = packs(own)
    process = start(own, ELINK_STALL="6")
    eventually(lambda: packs(own) > before, timeout=180, every=0.02)
    own.gateway.stop()
    assert process.wait(120) == 1
    assert json.loads((own.root / "message").read_text())["reason"] == "StoreAway"
    own.gateway.start()
    assert own.names() == named(1, 2)


@pytest.mark.parametrize("fault", ["StoreAway", "killed"])
def test_a_restore_that_ends_in_the_middle_is_made_again(own: Remote, postgres: Postgres, fault: str) -> None:
    (own.files / "big").write_bytes(os.urandom(60 << 20))
    assert own.run("backup")[0] == 0
    into = own.root / ".restore-aozora"
    with empty_database(own, postgres) as target:
        end_in_the_middle(own, fault, target, into)
    # The operator makes the scratch database anew for every try; the folder is the program's own to clear.
    with empty_database(own, postgres) as target:
        code, said = restore_into(own, target, into)
    assert (code, said["different"]) == (0, []), said
    assert (into / "big").read_bytes() == (own.files / "big").read_bytes()


def restore_into(bench: Remote, target: str, into: Path) -> tuple[int, dict[str, Any]]:
    return bench.run("backup", "restore", "--into-database", target, "--into-directory", str(into))


def end_in_the_middle(own: Remote, fault: str, target: str, into: Path) -> None:
    process = start(own, "restore", "--into-database", target, "--into-directory", str(into), ELINK_STALL="20")
    # The dump has been read, and the first file is being written.
    eventually(lambda: (into / "big").exists() or process.poll() is not None, timeout=120, every=0.01)
    assert process.poll() is None, (own.root / "message").read_text()
    if fault == "killed":
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(120) == -signal.SIGKILL
    else:
        own.gateway.stop()
        assert process.wait(120) == 1
        assert json.loads((own.root / "message").read_text())["reason"] == fault
        own.gateway.start()


def test_a_restore_says_when_the_place_for_it_is_full(own: Remote, postgres: Postgres) -> None:
    (own.files / "big").write_bytes(os.urandom(20 << 20))
    assert own.run("backup")[0] == 0
    into = own.root / "full"
    into.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(into)], check=True)
    try:
        with empty_database(own, postgres) as target:
            code, said = restore_into(own, target, into)
    finally:
        subprocess.run(["umount", "--lazy", str(into)], check=True)
    assert (code, said["reason"]) == (1, "ScratchFull"), said


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_ends_in_the_middle_leaves_no_generation_in_a_bucket(bench: Remote, sent: signal.Signals) -> None:
    days(bench, 1, 7)
    (bench.files / "big").write_bytes(os.urandom(150 << 20))
    before = packs(bench)
    process = start(bench)
    eventually(lambda: packs(bench) > before, timeout=180, every=0.02)
    os.killpg(process.pid, sent)
    assert process.wait(120) in (143, -sent)
    assert bench.names() == named(1, 7)
    (bench.files / "big").unlink()
    code, said = bench.run("backup")
    assert (code, said["generations"]) == (0, 7), said
    bench.restic("check", "--read-data")
    assert said["bytes"] < 20 << 20, "what the killed job wrote is gone"


def test_a_store_that_is_read_only(own: Remote) -> None:
    days(own, 1, 2)
    own.gateway.stop()
    own.gateway.start("--readonly")
    code, said = own.run("backup")
    assert (code, said["reason"]) == (1, "StoreReadOnly"), said
    assert said["generations"] == 2


@pytest.fixture
def small(postgres: Postgres, tmp_path: Path) -> Iterator[Remote]:
    """A store on a tmpfs of 70 MiB."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a file system and must run as root")
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=70m", "none", str(root)], check=True)
    try:
        store = Gateway(root, free_port())
        store.start()
        provide(store, MINE)
        yield remote(make_bench(postgres, tmp_path), store)
        store.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def test_a_store_that_fills_up_keeps_the_old_generations_in_a_bucket(small: Remote) -> None:
    days(small, 1, 3)
    (small.files / "big").write_bytes(os.urandom(90 << 20))
    code, said = small.run("backup", ELINK_STALL="60")
    assert (code, said["reason"]) == (1, "StoreFull"), said
    assert said["generations"] == 3
    (small.files / "big").unlink()
    code, said = small.run("backup")
    assert (code, said["generations"]) == (0, 4), said
