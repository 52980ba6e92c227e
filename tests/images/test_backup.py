"""The backup image's programs against a real PostgreSQL: what they leave in the store, and what a failure leaves."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubectl import eventually
from tests.support.postgres import Postgres, find_program

PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
SECRET_ROW = "山田太郎-7c1f"


@dataclass
class Bench:
    """One tenant's folders and environment."""

    root: Path
    environ: dict[str, str]

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
        assert "tenant-password" not in done.stdout + done.stderr
        return done.returncode, json.loads(message.read_text())

    def names(self) -> list[str]:
        return sorted(p.name for p in self.store.iterdir() if not p.name.startswith("."))


@pytest.fixture
def bench(postgres: Postgres, tmp_path: Path) -> Bench:
    database = "backup_" + tmp_path.name.replace("-", "_")[-40:]

    async def make() -> None:
        admin = await postgres.connect()
        await admin.execute(f'CREATE DATABASE "{database}"')
        await admin.close()
        inside = await postgres.connect(database)
        await inside.execute("CREATE TABLE address (name text)")
        await inside.execute("INSERT INTO address VALUES ($1)", SECRET_ROW)
        await inside.close()

    asyncio.run(make())
    for name in ("backup", "files", "secrets"):
        (tmp_path / name).mkdir()
    (tmp_path / "files" / "画像.txt").write_text("内容")
    values = {"host": postgres.host, "port": str(postgres.port), "database": database,
              "username": "postgres", "password": postgres.admin_password}  # fmt: skip
    for key, value in values.items():
        (tmp_path / "secrets" / key).write_text(value)
    environ = {
        "PATH": f"{Path(find_program('pg_dump')).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROGRAMS),
        "ELINK_TENANT_ID": "aozora",
        "ELINK_SECRET_DIR": str(tmp_path / "secrets"),
        "ELINK_STORE": str(tmp_path / "backup"),
        "ELINK_FILES": str(tmp_path / "files"),
        "ELINK_COMPRESS": "3",
        "ELINK_PATIENCE": "0",
    }
    return Bench(tmp_path, environ)


pytestmark = pytest.mark.postgres


def fake_generation(store: Path, name: str) -> None:
    """A complete old generation, so that a test need not wait for a new second nine times."""
    folder = store / name
    folder.mkdir()
    (folder / "database.dump").write_text("old")
    (folder / "manifest.json").write_text(json.dumps({"files": {"database.dump": {"bytes": 3, "sha256": ""}}}))


def test_a_generation_can_be_restored(bench: Bench, postgres: Postgres) -> None:
    code, said = bench.run("backup")
    assert code == 0, said
    assert said["generations"] == 1
    assert said["bytes"] > 0
    (name,) = bench.names()
    dump = bench.store / name / "database.dump"
    restored = subprocess.run(
        [find_program("pg_restore"), "--no-owner", "--file=-", str(dump)], capture_output=True, text=True, check=True
    ).stdout
    assert SECRET_ROW in restored
    archive = bench.store / name / "files.tar.zst"
    text = subprocess.run(["tar", "--zstd", "-xOf", str(archive), "./画像.txt"], capture_output=True, check=True).stdout
    assert text.decode() == "内容"
    manifest = json.loads((bench.store / name / "manifest.json").read_text())
    assert manifest["tenant"] == "aozora"
    assert manifest["started"].endswith("+09:00")
    assert (manifest["tables"], manifest["archived"]) == (1, 1)


def test_seven_newest_stay(bench: Bench) -> None:
    for day in range(1, 10):
        fake_generation(bench.store, f"2026010{day}T000000Z")
    code, said = bench.run("backup")
    assert code == 0
    assert said["generations"] == 7
    assert bench.names()[0] == "20260104T000000Z"


@pytest.mark.parametrize("fault", ["password", "database", "files"])
def test_a_failure_displaces_nothing(bench: Bench, fault: str) -> None:
    for day in range(1, 8):
        fake_generation(bench.store, f"2026010{day}T000000Z")
    before = bench.names()
    if fault == "files":
        code, said = bench.run("backup", ELINK_FILES=str(bench.root / "nowhere"))
    else:
        (bench.root / "secrets" / fault).write_text("wrong")
        code, said = bench.run("backup")
    assert code == 1
    assert said["result"] == "error"
    assert said["generations"] == 7
    assert bench.names() == before
    assert not list(bench.store.glob(".unfinished-*"))


def test_an_incomplete_folder_is_not_a_generation(bench: Bench) -> None:
    fake_generation(bench.store, "20260101T000000Z")
    fake_generation(bench.store, "20260102T000000Z")
    (bench.store / "20260102T000000Z" / "database.dump").write_text("cut short")
    (bench.store / "20260103T000000Z").mkdir()
    _, said = bench.run("backup", "list")
    assert said["names"] == ["20260101T000000Z"]


def test_leftovers_of_a_killed_job_are_cleared(bench: Bench) -> None:
    (bench.store / ".unfinished-abc").mkdir()
    (bench.store / ".unfinished-abc" / "database.dump").write_text("half")
    code, _ = bench.run("backup")
    assert code == 0
    assert not list(bench.store.glob(".unfinished-*"))


def test_only_one_at_a_time(bench: Bench) -> None:
    with (bench.store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = bench.run("backup")
        assert code == 1
        assert "another backup" in said["message"]
        waiting = threading.Timer(1.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        waiting.start()
        code, said = bench.run("backup", ELINK_PATIENCE="20")
        waiting.join()
    assert (code, said["generations"]) == (0, 1)


def test_damage_is_found_whatever_its_size(bench: Bench) -> None:
    assert bench.run("backup")[0] == 0
    (name,) = bench.names()
    assert bench.run("backup", "verify") == (0, {"result": "ok", "tenant": "aozora", "checked": 1, "damaged": {}})
    dump = bench.store / name / "database.dump"
    content = bytearray(dump.read_bytes())
    content[-20] ^= 0xFF
    dump.write_bytes(content)
    code, said = bench.run("backup", "verify")
    assert code == 1
    assert said["damaged"] == {name: "database.dump is not what was written"}
    dump.unlink()
    assert bench.run("backup", "verify")[0] == 1


def test_a_store_that_fills_up_keeps_the_old_generations(bench: Bench) -> None:
    """A real full disk: a tmpfs of 70 MiB in a mount namespace of its own, and files that do not fit."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a tmpfs and must run as root")
    (bench.root / "files" / "big").write_bytes(os.urandom(90 << 20))
    for day in range(1, 4):
        fake_generation(bench.store, f"2026010{day}T000000Z")
    script = (
        'mount -t tmpfs -o size=70m none "$ELINK_STORE" && cp -r "$1"/2* "$ELINK_STORE" && '
        '"$2" -m elink_backup.backup; echo "$?" > "$1/code"; ls -A "$ELINK_STORE" > "$1/left"'
    )
    full = bench.root / "full"
    full.mkdir()
    began = time.monotonic()
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(bench.store), sys.executable],
        env={**bench.environ, "ELINK_STORE": str(full), "ELINK_TERMINATION_LOG": str(bench.root / "message")},
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert time.monotonic() - began < 30
    said = json.loads((bench.root / "message").read_text())
    assert (bench.store / "code").read_text().strip() == "1", said
    assert "No space left" in said["message"]
    assert said["generations"] == 3
    assert (bench.store / "left").read_text().split() == [".lock", *(f"2026010{d}T000000Z" for d in (1, 2, 3))]


def test_a_store_without_room_is_refused_before_anything_is_written(bench: Bench) -> None:
    script = 'mount -t tmpfs -o size=20m none "$ELINK_STORE" && exec "$1" -m elink_backup.backup'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable],
        env={**bench.environ, "ELINK_TERMINATION_LOG": str(bench.root / "message")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "enlarge the volume" in json.loads((bench.root / "message").read_text())["message"]


def test_a_job_that_is_told_to_end_leaves_nothing(bench: Bench) -> None:
    (bench.root / "files" / "big").write_bytes(os.urandom(150 << 20))
    process = subprocess.Popen([sys.executable, "-m", "elink_backup.backup"], env=bench.environ, stdout=subprocess.PIPE)
    eventually(lambda: list(bench.store.glob(".unfinished-*/files.tar.zst")), timeout=30, every=0.02)
    process.terminate()
    assert process.wait(20) == 143
    assert bench.names() == []
    assert not list(bench.store.glob(".unfinished-*"))


def test_erase_removes_exactly_one_tenant(bench: Bench) -> None:
    for name in ("aozora", "aozora-2", "aozor"):
        (bench.root / "files" / name / "sub").mkdir(parents=True)
        (bench.root / "files" / name / "sub" / "f").write_text(name)
        (bench.root / "backup" / name / "20260101T000000Z").mkdir(parents=True)
        (bench.root / "backup" / name / "20260101T000000Z" / "manifest.json").write_text("{}")
    os.symlink(bench.root / "files" / "aozora-2", bench.root / "files" / "aozora" / "link")
    code, said = bench.run("erase")
    assert code == 0
    assert said["removed"] == {"directory": 1, "backups": 1}
    assert said["generations"] == ["20260101T000000Z"]
    assert said["left"] == []
    assert said["looked_again"].endswith("+09:00")
    assert sorted(p.name for p in (bench.root / "files").iterdir()) == ["aozor", "aozora-2", "画像.txt"]
    assert (bench.root / "files/aozora-2/sub/f").read_text() == "aozora-2"
    assert sorted(p.name for p in bench.store.iterdir()) == ["aozor", "aozora-2"]
    assert bench.run("erase")[0] == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../files", "a/b", "Aozora", "aozora\n", "a" * 41, "-a"])
def test_erase_refuses_what_is_not_an_id(bench: Bench, name: str) -> None:
    code, said = bench.run("erase", ELINK_TENANT_ID=name)
    assert code == 2
    assert said["result"] == "error"
    assert (bench.root / "files" / "画像.txt").exists()


def test_erase_does_not_take_a_missing_volume_for_an_empty_one(bench: Bench) -> None:
    code, said = bench.run("erase", ELINK_STORE=str(bench.root / "away"))
    assert code == 1
    assert "not mounted" in said["message"]
