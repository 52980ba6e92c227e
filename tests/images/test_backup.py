"""The backup image's programs against a real PostgreSQL: what they leave in the store, and what a failure leaves."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elink_backup.job import Job

from tests.support.kubectl import eventually
from tests.support.postgres import Postgres, find_program
from tests.support.restic import find_restic

PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
SECRET_ROW = "山田太郎-7c1f"
TENANT_KEY = "a-tenant-key".ljust(43, "-")
"""Of the shape that the operator gives to keys, so that restic's commands do not take half a second each."""


@dataclass
class Bench:
    """One tenant's folders and environment."""

    root: Path
    environ: dict[str, str]
    place: str = ""
    """Where restic finds the repository, when that is no folder."""

    @property
    def store(self) -> Path:
        return self.root / "backup"

    def run(self, module: str, *arguments: str, **environ: str) -> tuple[int, dict[str, Any]]:
        """Run a program; returns its exit code and its termination message."""
        message = self.root / "message"
        message.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", f"elink_backup.{module}", *arguments],
            env={**self.environ, "ELINK_TERMINATION_LOG": str(message), **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert message.exists(), done.stdout + done.stderr
        assert TENANT_KEY not in done.stdout + done.stderr
        return done.returncode, json.loads(message.read_text())

    @property
    def files(self) -> Path:
        return self.root / "snapshot" / "files"

    def names(self) -> list[str]:
        code, said = self.run("backup", "list")
        assert code == 0, said
        return list(said["names"])

    def restic(self, *arguments: str) -> str:
        """restic itself, with the tenant's key."""
        return subprocess.run(
            ["restic", "--no-cache", "--repo", self.place or str(self.store / "repository"),
             "--password-file", str(self.root / "secrets" / "repository-key"), *arguments],
            env=self.environ, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip


@pytest.fixture
def bench(postgres: Postgres, tmp_path: Path) -> Bench:
    return make_bench(postgres, tmp_path)


def make_bench(postgres: Postgres, tmp_path: Path) -> Bench:
    """A tenant with a database and files; its store is a folder."""
    database = "backup_" + tmp_path.name.replace("-", "_")[-40:]

    async def make() -> None:
        admin = await postgres.connect()
        await admin.execute(f'CREATE DATABASE "{database}"')
        await admin.close()
        inside = await postgres.connect(database)
        await inside.execute("CREATE TABLE address (name text)")
        await inside.execute("INSERT INTO address VALUES ($1)", SECRET_ROW)
        await inside.execute("CREATE TABLE mail (id bigserial PRIMARY KEY, body text)")
        line = "'line' || chr(10) || g || chr(9) || chr(92)"
        await inside.execute(f"INSERT INTO mail (body) SELECT {line} FROM generate_series(1, 500) g")
        await inside.close()

    asyncio.run(make())
    for name in ("backup", "snapshot/files/sub", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "snapshot" / "files" / "画像.txt").write_text("内容")
    (tmp_path / "snapshot" / "files" / "sub" / "b").write_bytes(bytes(range(256)))
    values = {"host": postgres.host, "port": str(postgres.port), "database": database,
              "username": "postgres", "password": postgres.admin_password,
              "repository-key": TENANT_KEY}  # fmt: skip
    for key, value in values.items():
        (tmp_path / "secrets" / key).write_text(value)
    environ = {
        "PATH": f"{Path(find_program('pg_dump')).parent}:{find_restic().parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROGRAMS),
        "ELINK_TENANT_ID": "aozora",
        "ELINK_SECRET_DIR": str(tmp_path / "secrets"),
        "ELINK_STORE": str(tmp_path / "backup"),
        "ELINK_SOURCE": str(tmp_path / "snapshot"),
        "ELINK_FILES": str(tmp_path / "snapshot" / "files"),
        "ELINK_TENANT_UID": "uid-1",
        "ELINK_SERVER": "shared-1",
        "ELINK_REVISION": "2026.11",
        "ELINK_PATIENCE": "0",
    }
    return Bench(tmp_path, environ)


pytestmark = pytest.mark.postgres


def days(bench: Bench, first: int, last: int, kind: str = "daily") -> None:
    """Old generations, so that a test need not wait for a new second nine times."""
    bench.restic("init")
    for day in range(first, last + 1):
        bench.restic(
            "backup", "--quiet", "--tag",
            f"complete,generation=2026010{day}T000000Z,tenant=aozora,kind={kind}", str(bench.files),
        )  # fmt: skip


def named(first: int, last: int) -> list[str]:
    return [f"2026010{day}T000000Z" for day in range(first, last + 1)]


def damage(bench: Bench) -> None:
    """Overwrite the first half of every pack of the repository."""
    for pack in list((bench.store / "repository" / "data").rglob("*")):
        if pack.is_file():
            content = bytearray(pack.read_bytes())
            content[: len(content) // 2] = bytes(len(content) // 2)
            pack.chmod(0o600)
            pack.write_bytes(content)


@pytest.fixture
def target(bench: Bench, postgres: Postgres) -> Iterator[str]:
    """An empty database to restore into."""
    with empty_database(bench, postgres) as name:
        yield name


@contextmanager
def empty_database(bench: Bench, postgres: Postgres, prefix: str = "back_") -> Iterator[str]:
    """A database of the bench's own, gone afterwards."""
    name = prefix + bench.root.name.replace("-", "_")[-40:]

    async def run(sql: str) -> None:
        admin = await postgres.connect()
        await admin.execute(sql)
        await admin.close()

    asyncio.run(run(f'CREATE DATABASE "{name}"'))
    yield name
    asyncio.run(run(f'DROP DATABASE "{name}"'))


def bring_back(bench: Bench, database: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    directory = str(bench.root / "back")
    return bench.run("backup", "restore", "--into-database", database, "--into-directory", directory, *arguments)


def texts(postgres: Postgres, database: str) -> list[str]:
    """Every row of the bench's two tables."""

    async def look() -> list[str]:
        inside = await postgres.connect(database)
        rows = await inside.fetch("SELECT name FROM address")
        rows += await inside.fetch("SELECT body FROM mail ORDER BY id")
        await inside.close()
        return [row[0] for row in rows]

    return asyncio.run(look())


def test_a_generation_comes_back_to_the_byte(bench: Bench, postgres: Postgres, target: str) -> None:
    code, said = bench.run("backup")
    assert code == 0, said
    assert said["generations"] == 1
    assert said["bytes"] > 0
    assert said["verifiedAt"] >= said["newest"]
    code, back = bring_back(bench, target)
    assert code == 0, back
    assert (back["generation"], back["tables"], back["rows"], back["files"]) == (said["made"], 3, 502, 2)
    assert back["different"] == []
    assert back["made"] == said["newest"]
    assert back["bytes"] > 256
    assert back["seconds"] >= 0
    assert texts(postgres, target) == [SECRET_ROW, *(f"line\n{g}\t\\" for g in range(1, 501))]
    assert (bench.root / "back" / "画像.txt").read_text() == "内容"
    assert (bench.root / "back" / "sub" / "b").read_bytes() == bytes(range(256))
    assert list((bench.root / "snapshot" / "database").iterdir()) == [], "the dump does not stay in the scratch folder"


def test_the_page_brings_a_backup_back_without_anything_of_elink(bench: Bench, postgres: Postgres, target: str) -> None:
    """As after the loss of the whole cluster: the store, the key, restic and PostgreSQL's tools."""
    page = (PROGRAMS.parents[2] / "docs" / "backup-and-restore.md").read_text(encoding="utf-8")
    [block] = (part.split("```")[0] for part in page.split("```sh\n")[1:] if "RESTIC_PASSWORD_FILE" in part)
    for stands_for, what in (
        ("s3:https://s3.example.jp/elink-tokyo-NAME/repository", str(bench.store / "repository")),
        ("=key\n", f"={bench.root}/secrets/repository-key\n"),
        ("BACK", target),
    ):
        assert block.count(stands_for) == 1, stands_for
        block = block.replace(stands_for, what)
    code, said = bench.run("backup")
    assert code == 0, said
    empty = bench.root / "elsewhere"
    empty.mkdir()
    log_in = {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.superuser,
              "PGPASSWORD": postgres.admin_password}  # fmt: skip
    done = subprocess.run(
        ["bash", "-ceu", block], env={"PATH": bench.environ["PATH"], **log_in}, cwd=empty,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "generation=" + said["made"] in done.stdout
    assert texts(postgres, target) == texts(postgres, (bench.root / "secrets" / "database").read_text())
    for path in ("画像.txt", "sub/b"):
        assert (empty / "files" / path).read_bytes() == (bench.files / path).read_bytes()


def test_a_snapshot_says_whose_it_is_and_the_store_is_sealed(bench: Bench) -> None:
    assert bench.run("backup")[0] == 0
    (snapshot,) = json.loads(bench.restic("snapshots", "--json"))
    assert {"tenant=aozora", "uid=uid-1", "server=shared-1", "revision=2026.11", "kind=daily"} < set(snapshot["tags"])
    stored = b"".join(path.read_bytes() for path in bench.store.rglob("*") if path.is_file())
    assert SECRET_ROW.encode() not in stored
    assert TENANT_KEY.encode() not in stored


def test_a_restore_never_overwrites(bench: Bench, target: str) -> None:
    assert bench.run("backup")[0] == 0
    database = (bench.root / "secrets" / "database").read_text()
    code, said = bring_back(bench, database)
    assert code == 1
    assert "is not empty" in said["message"]
    (bench.root / "back").mkdir(exist_ok=True)
    (bench.root / "back" / "mine").write_text("x")
    code, said = bring_back(bench, target)
    assert code == 1
    assert "is not an empty folder" in said["message"]
    assert (bench.root / "back" / "mine").read_text() == "x"


def test_a_generation_that_is_not_there(bench: Bench, target: str) -> None:
    assert bench.run("backup")[0] == 0
    code, said = bring_back(bench, target, "--generation", "20200101T000000Z")
    assert (code, said["reason"]) == (1, "GenerationMissing")


def test_what_an_earlier_tenant_of_the_name_left_does_not_come_back(bench: Bench, target: str) -> None:
    assert bench.run("backup", ELINK_TENANT_UID="uid-of-the-erased")[0] == 0
    code, said = bring_back(bench, target)
    assert (code, said["reason"]) == (1, "GenerationMissing")


def test_another_tenants_generation_does_not_come_back(bench: Bench, target: str) -> None:
    """A repository in the wrong folder, or a name that begins like another's."""
    assert bench.run("backup", ELINK_TENANT_ID="aozora-2")[0] == 0
    assert bench.names() == []
    code, said = bring_back(bench, target)
    assert (code, said["reason"]) == (1, "GenerationMissing")


def test_the_latest_is_never_what_a_restore_was_about_to_replace(bench: Bench, postgres: Postgres, target: str) -> None:
    """Else a restore would bring back the data that it has just backed up, and so would the try after a failed one."""
    code, good = bench.run("backup")
    assert code == 0, good
    for restore in ("1a2b3c4d", "5e6f7a8b"):
        time.sleep(1.1)  # names have seconds
        code, safety = bench.run("backup", ELINK_JOB=f"restore-{restore}-safety", ELINK_SAFETY="true")
        assert code == 0, safety
    assert bench.names()[0] == good["made"] < safety["made"] == bench.names()[-1]
    code, said = bring_back(bench, target)
    assert (code, said["generation"]) == (0, good["made"]), said
    shutil.rmtree(bench.root / "back")
    with empty_database(bench, postgres, "again_") as database:
        code, said = bring_back(bench, database, "--generation", safety["made"])
        assert (code, said["generation"]) == (0, safety["made"]), "by its name it is the way back"


def test_a_safety_backup_does_not_displace_what_is_to_be_restored(bench: Bench) -> None:
    days(bench, 1, 8, kind="extra")
    safety = {"ELINK_JOB": "restore-1a2b3c4d-safety", "ELINK_SAFETY": "true"}
    code, said = bench.run("backup", ELINK_SPARE=named(1, 1)[0], **safety)
    assert code == 0, said
    assert bench.names()[:-1] == [*named(1, 1), *named(3, 8)]
    code, said = bench.run("backup", **safety)
    assert code == 0, said
    assert bench.names()[:-2] == named(4, 8)


def test_seven_newest_stay_and_extra_ones_besides(bench: Bench) -> None:
    days(bench, 1, 9)
    code, said = bench.run("backup", ELINK_JOB="before-upgrade")
    assert code == 0, said
    names = bench.names()
    assert names[:-1] == named(3, 9), "one made by hand displaces none of the schedule's, and old ones go"
    code, said = bench.run("backup", ELINK_JOB=f"backup-aozora-{int(time.time()) // 60}")
    assert code == 0, said
    assert said["generations"] == 8
    assert bench.names()[:6] == named(4, 9)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("password", "DatabaseAway"), ("database", "DatabaseAway"), ("files", "FilesUnreadable"), ("key", "WrongKey")],
)
def test_a_failure_displaces_nothing(bench: Bench, fault: str, reason: str) -> None:
    days(bench, 1, 7)
    key = bench.root / "secrets" / "repository-key"
    if fault == "files":
        shutil.rmtree(bench.files)
        code, said = bench.run("backup")
    elif fault == "key":
        right = key.read_text()
        key.write_text("wrong")
        code, said = bench.run("backup")
        key.write_text(right)
    else:
        (bench.root / "secrets" / fault).write_text("wrong")
        code, said = bench.run("backup")
    assert (code, said["result"], said["reason"]) == (1, "error", reason), said
    assert said.get("generations", 7) == 7
    assert bench.names() == named(1, 7)


def test_the_key_that_the_operator_makes_opens_at_once(bench: Bench, target: str) -> None:
    """restic's own stretching of it would cost half a second of a processor in each command."""
    key, folder = bench.root / "secrets" / "repository-key", bench.store / "repository" / "keys"
    code, said = bench.run("backup")
    assert code == 0, said
    (file,) = folder.iterdir()
    assert json.loads(file.read_text())["N"] == 2
    assert file.stat().st_mode & 0o077 == 0
    assert TENANT_KEY not in file.read_text()
    bench.restic("check", "--read-data")
    assert len(bench.restic("key", "list").splitlines()) == 4, "a table with one line: restic's own key is gone"
    assert bring_back(bench, target)[0] == 0
    key.write_text(secrets.token_urlsafe(32))
    code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "WrongKey")


def test_a_key_that_a_person_thought_of_is_stretched(bench: Bench) -> None:
    (bench.root / "secrets" / "repository-key").write_text("a person's own")
    assert bench.run("backup")[0] == 0
    (file,) = (bench.store / "repository" / "keys").iterdir()
    assert json.loads(file.read_text())["N"] >= 1 << 12


def test_an_older_repository_opens_at_once_after_its_next_backup(bench: Bench, target: str) -> None:
    """A person's own key stays; the lock of a killed job, and a key file that it was writing, are in nobody's way."""
    days(bench, 1, 2)
    folder = bench.store / "repository" / "keys"
    (mine,) = folder.iterdir()
    (bench.root / "another").write_text("a person's own")
    bench.restic("key", "add", "--new-password-file", str(bench.root / "another"))
    (theirs,) = set(folder.iterdir()) - {mine}
    (folder / f"{'ab' * 32}-tmp-elink").write_text("{")
    master = json.loads(bench.restic("cat", "masterkey"))
    leave_a_lock(bench)
    code, said = bench.run("backup")
    assert (code, said["generations"]) == (0, 3), said
    assert json.loads(bench.restic("cat", "masterkey")) == master
    files = set(folder.iterdir())
    assert theirs in files
    (new,) = files - {theirs}
    assert json.loads(new.read_text())["N"] == 2
    assert bring_back(bench, target)[0] == 0


def leave_a_lock(bench: Bench) -> None:
    """What a restic command leaves that was killed at work."""
    locks = bench.store / "repository" / "locks"
    (bench.files / "big").write_bytes(os.urandom(100 << 20))
    process = subprocess.Popen(
        ["restic", "--no-cache", "--repo", str(bench.store / "repository"), "--password-file",
         str(bench.root / "secrets" / "repository-key"), "backup", "--quiet", str(bench.files)],
        env=bench.environ, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: any(locks.iterdir()), timeout=60, every=0.02)
    finally:
        process.kill()
        process.wait()
    (bench.files / "big").unlink()
    assert any(locks.iterdir())


def test_both_keys_open_after_a_kill_between_them(bench: Bench) -> None:
    assert bench.run("backup")[0] == 0
    bench.restic("key", "add", "--new-password-file", str(bench.root / "secrets" / "repository-key"))
    code, said = bench.run("backup", ELINK_JOB="mine")
    assert (code, said["generations"]) == (0, 2), said
    assert len(list((bench.store / "repository" / "keys").iterdir())) == 2


def test_a_snapshot_that_was_never_read_back_is_no_generation(bench: Bench) -> None:
    days(bench, 1, 2)
    bench.restic("backup", "--tag", "unproven,generation=20260103T000000Z,tenant=aozora", str(bench.files))
    assert bench.names() == named(1, 2)
    assert bench.run("backup")[0] == 0
    assert len(json.loads(bench.restic("snapshots", "--json"))) == 3, "the next backup clears it away"


def test_damage_is_found_by_reading_everything(bench: Bench) -> None:
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    assert bench.run("backup")[0] == 0
    assert bench.run("backup", "verify") == (0, {"result": "ok", "tenant": "aozora", "checked": 1, "damaged": {}})
    (name,) = bench.names()
    damage(bench)
    code, said = bench.run("backup", "verify")
    assert code == 1
    assert list(said["damaged"]) == [name]
    assert bench.names() == [name], "who only looks changes nothing"


def test_a_damaged_generation_does_not_come_back(bench: Bench, postgres: Postgres, target: str) -> None:
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    older, newer = (bench.run("backup", ELINK_JOB=name)[1]["made"] for name in ("mine", ""))
    damage(bench)
    code, said = bring_back(bench, target)
    assert (code, said["reason"]) == (1, "StoreDamaged"), said
    assert (said["generation"], said["others"]) == (newer, [older]), "a person has to choose another one"
    assert not (bench.root / "back" / "big").exists()

    async def tables() -> int:
        inside = await postgres.connect(target)
        found = await inside.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        await inside.close()
        return int(found)

    assert asyncio.run(tables()) == 0, "all of the database or nothing"


def test_a_store_that_lost_its_head_is_not_made_anew(bench: Bench) -> None:
    assert bench.run("backup")[0] == 0
    (bench.store / "repository" / "config").unlink()
    code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "StoreDamaged")
    assert list((bench.store / "repository" / "snapshots").iterdir())


def test_what_a_killed_init_left_is_made_anew(bench: Bench) -> None:
    (bench.store / "repository" / "keys").mkdir(parents=True)
    (bench.store / "repository" / "keys" / "half").write_text("{")
    assert bench.run("backup")[0] == 0


def test_a_store_that_is_away_is_not_an_empty_one(bench: Bench) -> None:
    code, said = bench.run("backup", ELINK_STORE=str(bench.root / "away"))
    assert (code, said["reason"]) == (1, "StoreAway")
    assert "generations" not in said, "nobody knows what is in a store that is away"
    assert bench.run("backup", "list", ELINK_STORE=str(bench.root / "away"))[0] == 1


def test_a_store_that_hangs(bench: Bench) -> None:
    """A file that cannot be opened to its end, as on a dead network file system."""
    assert bench.run("backup")[0] == 0
    (config,) = (bench.store / "repository" / "keys").iterdir()
    config.unlink()
    os.mkfifo(config)
    code, said = bench.run("backup", ELINK_STALL="3")
    assert (code, said["reason"]) == (1, "StoreTooSlow"), said


@contextmanager
def somebody_else_at_work(bench: Bench, postgres: Postgres) -> Iterator[Callable[[], None]]:
    """Another session holds the tenant's lock until it is told to go."""
    database = (bench.root / "secrets" / "database").read_text()
    session = subprocess.Popen(
        ["psql", "-XAtqw", "-h", postgres.host, "-p", str(postgres.port), "-U", "postgres", "-d", database],
        env={**bench.environ, "PGPASSWORD": postgres.admin_password}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write("SELECT pg_advisory_lock(435610545771);\n")
    session.stdin.flush()
    session.stdout.readline()
    try:
        yield session.kill
    finally:
        session.kill()
        session.wait()


def test_only_one_at_a_time(bench: Bench, postgres: Postgres) -> None:
    with somebody_else_at_work(bench, postgres) as go:
        code, said = bench.run("backup")
        assert (code, said["reason"]) == (1, "StillRunning")
        waiting = threading.Timer(1.5, go)
        waiting.start()
        code, said = bench.run("backup", ELINK_PATIENCE="60")
        waiting.join()
    assert (code, said["generations"]) == (0, 1)


async def test_a_job_that_lost_its_lock_counts_nothing(bench: Bench, postgres: Postgres) -> None:
    """The database restarted in the middle: by now another job may be at work on the same repository."""
    days(bench, 1, 2)
    (bench.files / "big").write_bytes(os.urandom(200 << 20))
    data = bench.store / "repository" / "data"
    before = len(list(data.rglob("*")))
    message = bench.root / "message"
    # Before the job: once it writes it may soon be done.
    admin = await postgres.connect((bench.root / "secrets" / "database").read_text())
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else is to be done in this loop
        [sys.executable, "-m", "elink_backup.backup"],
        env={**bench.environ, "ELINK_TERMINATION_LOG": str(message)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    eventually(lambda: len(list(data.rglob("*"))) > before, timeout=180, every=0.02)
    ended = await admin.fetch(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    await admin.close()
    assert len(ended) == 1
    assert process.wait(120) == 1
    assert json.loads(message.read_text())["reason"] == "DatabaseAway"
    assert bench.names() == named(1, 2)


@pytest.mark.parametrize("name", ["backup-aozora-1", "backup-aozora-29400000", "backup-aozora-20261128", "mine", ""])
def test_a_name_made_by_hand_is_no_due_time(bench: Bench, name: str) -> None:
    now = datetime(2026, 11, 28, 17, 0, tzinfo=UTC)
    job = Job.from_environment({**bench.environ, "ELINK_JOB": name})
    assert job.kind(now) == ("extra" if name else "daily")
    due = int(now.timestamp()) // 60
    for minute, kind in ((due, "daily"), (due - 7 * 60, "daily"), (due + 1, "extra"), (due - 25 * 60, "extra")):
        assert replace(job, name=f"backup-aozora-{minute}").kind(now) == kind


def mounted(bench: Bench, mount: str) -> tuple[int, dict[str, Any]]:
    """A backup in a mount namespace of its own, in which `mount` (a shell command) has been run first."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a file system and must run as root")
    message = bench.root / "message"
    message.unlink(missing_ok=True)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$1" -m elink_backup.backup', "sh", sys.executable],
        env={**bench.environ, "ELINK_TERMINATION_LOG": str(message), "ELINK_STALL": "30"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert message.exists(), done.stdout + done.stderr
    return done.returncode, json.loads(message.read_text())


def test_a_store_that_fills_up_keeps_the_old_generations(bench: Bench) -> None:
    """A real full disk: a tmpfs of 70 MiB with old generations in it, and files that do not fit."""
    days(bench, 1, 3)
    (bench.files / "big").write_bytes(os.urandom(90 << 20))
    aside = bench.root / "aside"
    bench.store.rename(aside)
    bench.store.mkdir()
    code, said = mounted(bench, f'mount -t tmpfs -o size=70m none "$ELINK_STORE" && cp -r {aside}/. "$ELINK_STORE"')
    assert (code, said["reason"]) == (1, "StoreFull"), said
    assert said["generations"] == 3


def test_a_store_without_room_is_refused_before_anything_is_written(bench: Bench) -> None:
    code, said = mounted(bench, 'mount -t tmpfs -o size=20m none "$ELINK_STORE"')
    assert (code, said["reason"]) == (1, "StoreFull")
    assert "enlarge the volume" in said["message"]


def test_a_store_that_is_read_only(bench: Bench) -> None:
    days(bench, 1, 2)
    code, said = mounted(bench, 'mount --bind "$ELINK_STORE" "$ELINK_STORE" && mount -o remount,ro,bind "$ELINK_STORE"')
    assert (code, said["reason"]) == (1, "StoreReadOnly"), said
    assert said["generations"] == 2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_ends_in_the_middle_leaves_no_generation(bench: Bench, sent: signal.Signals) -> None:
    days(bench, 1, 7)
    (bench.files / "big").write_bytes(os.urandom(150 << 20))
    process = subprocess.Popen(
        [sys.executable, "-m", "elink_backup.backup"], env=bench.environ, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    packs = bench.store / "repository" / "data"
    before = len(list(packs.rglob("*")))
    eventually(lambda: len(list(packs.rglob("*"))) > before, timeout=180, every=0.02)
    os.killpg(process.pid, sent)  # a container's processes end together
    assert process.wait(120) in (143, -sent)
    assert bench.names() == named(1, 7)
    # A kill may come between two of them.
    (next(packs.iterdir()) / f"{'ab' * 32}-tmp-1234").write_bytes(bytes(30 << 20))
    (bench.files / "big").unlink()
    code, said = bench.run("backup")
    assert (code, said["generations"]) == (0, 7), said
    bench.restic("check", "--read-data")
    assert said["bytes"] < 20 << 20, "what the killed job wrote is gone"


def test_erase_removes_exactly_one_tenant(bench: Bench) -> None:
    for name in ("aozora", "aozora-2", "aozor"):
        (bench.files / name / "sub").mkdir(parents=True)
        (bench.files / name / "sub" / "f").write_text(name)
        for beside in (".restore-", ".kept-", ".gone-"):
            (bench.files / (beside + name)).mkdir()
            (bench.files / (beside + name) / "f").write_text(name)
        (bench.root / "backup" / name / "repository/snapshots").mkdir(parents=True)
        (bench.root / "backup" / name / "repository/snapshots" / ("0a1b2c3d" * 8)).write_text("{}")
    os.symlink(bench.files / "aozora-2", bench.files / "aozora" / "link")
    code, said = bench.run("erase")
    assert code == 0
    assert said["removed"] == {"directory": 1, "restored": 1, "kept": 1, "gone": 1, "backups": 1}
    assert said["generations"] == ["0a1b2c3d"]
    assert said["left"] == []
    assert said["looked_again"].endswith("+09:00")
    beside = [f".{what}-{name}" for what in ("gone", "kept", "restore") for name in ("aozor", "aozora-2")]
    assert sorted(p.name for p in (bench.files).iterdir()) == [*beside, "aozor", "aozora-2", "sub", "画像.txt"]
    assert (bench.files / "aozora-2/sub/f").read_text() == "aozora-2"
    assert sorted(p.name for p in bench.store.iterdir()) == ["aozor", "aozora-2"]
    assert bench.run("erase")[0] == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../files", "a/b", "Aozora", "aozora\n", "a" * 41, "-a"])
def test_erase_refuses_what_is_not_an_id(bench: Bench, name: str) -> None:
    code, said = bench.run("erase", ELINK_TENANT_ID=name)
    assert code == 2
    assert said["result"] == "error"
    assert (bench.files / "画像.txt").exists()


def test_erase_does_not_take_a_missing_volume_for_an_empty_one(bench: Bench) -> None:
    code, said = bench.run("erase", ELINK_STORE=str(bench.root / "away"))
    assert code == 1
    assert "not mounted" in said["message"]
