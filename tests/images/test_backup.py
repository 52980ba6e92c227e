"""The backup image's programs against a real PostgreSQL: what they leave in the store, and what a failure leaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
    import fcntl

    with (bench.store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = bench.run("backup")
    assert code == 1
    assert "another backup" in said["message"]


def test_erase_removes_exactly_one_tenant(bench: Bench) -> None:
    for name in ("aozora", "aozora-2", "aozor"):
        (bench.root / "files" / name / "sub").mkdir(parents=True)
        (bench.root / "files" / name / "sub" / "f").write_text(name)
        (bench.root / "backup" / name).mkdir()
    os.symlink(bench.root / "files" / "aozora-2", bench.root / "files" / "aozora" / "link")
    code, said = bench.run("erase")
    assert code == 0
    assert said["removed"] == {"directory": 1, "backups": 0}
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
