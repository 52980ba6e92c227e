"""A server's own data in its repository: what is in it, what a failure leaves, and how a tenant goes out of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from elink_operator.database import Databases
from elink_operator.naming import BACKUP_ROLE, REGISTRY_DATABASE

from tests.operator.database.conftest import target
from tests.support.kubectl import eventually
from tests.support.postgres import Postgres, find_program, running
from tests.support.restic import find_restic

PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
SECRET = "担当者 kanri@aozora.example.jp"
"""What the registry knows of the customer and the copy must not."""
SERVER_KEY = "a-server-key".ljust(43, "-")
VERBS = {"snapshots", "restore", "backup", "dump", "tag", "forget", "prune", "check", "unlock", "init"}
WORDS = "550 5.1.1 <taro@midori.example.jp>: user unknown"

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def registry() -> Iterator[Postgres]:
    """A server whose registry is of these tests alone."""
    with running() as server:
        yield server


@dataclass
class Bench:
    """A server's folders, and the environment of its Jobs."""

    root: Path
    postgres: Postgres
    environ: dict[str, str]

    def run(self, *arguments: str, **environ: str) -> tuple[int, dict[str, Any]]:
        """Run the program; its exit code and its termination message."""
        message = self.root / "message"
        message.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "elink_backup.server", *arguments],
            env={**self.environ, "ELINK_TERMINATION_LOG": str(message), **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert message.exists(), done.stdout + done.stderr
        for secret in (SERVER_KEY, self.postgres.backup_password, "@"):
            assert secret not in done.stdout + done.stderr
        return done.returncode, json.loads(message.read_text())

    def restic(self, *arguments: str) -> str:
        """restic itself, with the server's key."""
        return subprocess.run(
            ["restic", "--no-cache", "--repo", str(self.root / "backup" / "repository"),
             "--password-file", str(self.root / "secrets" / "repository-key"), *arguments],
            env=self.environ, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def contents(self) -> str:
        """Everything that any snapshot of the repository holds."""
        ids = [s["id"] for s in json.loads(self.restic("snapshots", "--json"))]
        return "".join(self.restic("dump", one, "/", "--archive", "tar") for one in ids)

    def journal(self, name: str, *lines: object) -> None:
        with (self.root / "journals" / name).open("a") as journal:
            journal.writelines(json.dumps(line) + "\n" for line in lines)

    async def sql(self, statement: str) -> None:
        connection = await self.postgres.connect(REGISTRY_DATABASE)
        await connection.execute(statement)
        await connection.close()

    def forget(self, *tenants: str, **environ: str) -> tuple[int, dict[str, Any]]:
        return self.run("forget", ELINK_LEAVERS=leavers(*tenants), **environ)


def leavers(*tenants: str) -> str:
    """How a Job is told whom to take out."""
    return json.dumps([[name, f"uid-{name}"] for name in tenants])


@pytest.fixture
async def bench(registry: Postgres, tmp_path: Path) -> AsyncIterator[Bench]:
    databases = Databases()
    await databases.ensure_server(target(registry))
    await databases.close()
    connection = await registry.connect(REGISTRY_DATABASE)
    for name in ("aozora", "aozora-x", "midori"):
        await connection.execute(
            "INSERT INTO tenant (name, uid, host, database, role, directory, state, display_name, language, limits,"
            " contacts, mail, master_email, spec_hash)"
            " VALUES ($1, 'uid-' || $1, $1, $1, $1, $1, 'Active', $2, 'ja', '{}', $3, $3, $2, 'h')",
            name, SECRET, json.dumps({"emails": [SECRET]}),
        )  # fmt: skip
        await connection.execute("INSERT INTO delivery_wakeup VALUES ($1, now())", name)
        await connection.execute(
            "INSERT INTO notice (tenant, id, type, severity, title_ja) VALUES ($1, 'n1', 'Change', 'Info', $2)",
            name, f"{name} 様へのお知らせ",
        )  # fmt: skip
        await connection.execute("INSERT INTO database_switch VALUES ('uid-' || $1, 'r_1_' || $1, 1, 2)", name)
    for folder in ("backup", "snapshot", "secrets", "journals"):
        (tmp_path / folder).mkdir()
    values = {"host": registry.host, "port": str(registry.port), "database": REGISTRY_DATABASE,
              "username": BACKUP_ROLE, "password": registry.backup_password,
              "repository-key": SERVER_KEY}  # fmt: skip
    for key, value in values.items():
        (tmp_path / "secrets" / key).write_text(value)
    environ = {
        "PATH": f"{Path(find_program('pg_dump')).parent}:{find_restic().parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROGRAMS),
        "ELINK_SERVER": "shared-1",
        "ELINK_SERVER_UID": "uid-shared-1",
        "ELINK_SECRET_DIR": str(tmp_path / "secrets"),
        "ELINK_STORE": str(tmp_path / "backup"),
        "ELINK_SOURCE": str(tmp_path / "snapshot"),
        "ELINK_JOURNALS": str(tmp_path / "journals"),
        "ELINK_PATIENCE": "0",
    }
    made = Bench(tmp_path, registry, environ)
    made.journal("1-aa.journal", ["C", "aozora", 7, [[1, 1]]], ["C", "midori", 8, [[1, 1]]])
    made.journal("2-bb.journal", ["A", "aozora", 7, 1, 1, "refused", WORDS])
    made.journal("settled.txt", ["no journal"])
    yield made
    await connection.execute("TRUNCATE tenant, database_switch CASCADE")
    await connection.close()


def kept(bench: Bench, generation: str = "latest") -> tuple[list[Any], dict[str, str]]:
    """Rows and journals of a generation, by the documented command."""
    into = bench.root / "back"
    shutil.rmtree(into, ignore_errors=True)
    code, said = bench.run("restore", "--generation", generation, "--into-directory", str(into))
    assert (code, said["different"]) == (0, []), said
    rows = [json.loads(line) for line in (into / "registry.jsonl").read_text().splitlines()]
    return rows, {path.name: path.read_text() for path in (into / "journals").iterdir()}


def test_a_generation_holds_registry_and_journals_and_no_customers_words(bench: Bench) -> None:
    code, said = bench.run("run", ELINK_JOB=f"server-backup-{int(time.time()) // 60}")
    assert (code, said["generations"]) == (0, 1), said
    assert said["verifiedAt"]
    [snapshot] = json.loads(bench.restic("snapshots", "--json"))
    assert {"kind=daily", "tenant=.server", "server=shared-1", "uid=uid-shared-1", "complete"} <= set(snapshot["tags"])
    rows, journals = kept(bench)
    tables = [row["table"] for row in rows]
    assert {name: tables.count(name) for name in tables} == {
        "tenant": 3, "delivery_wakeup": 3, "notice": 3, "database_switch": 3,
    }  # fmt: skip
    notice = next(row["row"] for row in rows if row["table"] == "notice")
    assert notice["title_ja"] == "aozora 様へのお知らせ"
    assert journals == {name: (bench.root / "journals" / name).read_text() for name in ("1-aa.journal", "2-bb.journal")}
    assert "kanri@" not in bench.contents()
    assert list((bench.root / "snapshot" / "database").iterdir()) == []
    code, said = bench.run("verify")
    assert (code, said["checked"], said["damaged"]) == (0, 1, {})
    code, said = bench.run("restore", "--into-directory", str(bench.root / "back"))
    assert (code, said["result"]) == (1, "error"), "a folder with something in it is left alone"


async def test_the_role_reads_what_is_kept_and_nothing_else(bench: Bench) -> None:
    connection = await bench.postgres.connect(
        REGISTRY_DATABASE, user=BACKUP_ROLE, password=bench.postgres.backup_password
    )
    for statement in (
        "SELECT master_email FROM tenant",
        "SELECT * FROM tenant",
        "DELETE FROM delivery_wakeup",
        "UPDATE notice SET title_ja = ''",
        "CREATE TABLE public.own (n int)",
        "SET ROLE elink_app",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()
    for database in ("elink_template", "postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bench.postgres.connect(database, user=BACKUP_ROLE, password=bench.postgres.backup_password)


def test_a_failure_displaces_nothing_and_has_a_reason(bench: Bench) -> None:
    assert bench.run("run")[0] == 0
    before = kept(bench)
    port = (bench.root / "secrets" / "port").read_text()
    (bench.root / "secrets" / "port").write_text("1")
    code, said = bench.run("run")
    assert (code, said["reason"], said["generations"]) == (1, "DatabaseAway", 1)
    (bench.root / "secrets" / "port").write_text(port)
    code, said = bench.run("run", ELINK_JOURNALS=str(bench.root / "nowhere"))
    assert (code, said["reason"], said["generations"]) == (1, "FilesUnreadable", 1)
    (bench.root / "journals" / "3-cc.journal").symlink_to(bench.root / "secrets" / "repository-key")
    code, said = bench.run("run")
    assert (code, said["reason"]) == (1, "FilesUnreadable"), "a link is not followed"
    (bench.root / "secrets" / "repository-key").write_text("another")
    code, said = bench.run("list")
    assert (code, said["reason"]) == (1, "WrongKey")
    (bench.root / "secrets" / "repository-key").write_text(SERVER_KEY)
    assert kept(bench) == before


async def test_an_erased_tenant_is_in_no_generation_and_no_pack(bench: Bench) -> None:
    code, said = bench.forget("aozora")
    assert (code, said["generations"], said["rewritten"]) == (0, 0, 0), "there is no repository yet"
    assert said["lines"] == {"uid-aozora": 0}
    bench.run("run")
    await asyncio.sleep(1.1)  # generations are named by the second
    bench.journal("2-bb.journal", ["C", "aozora-x", 9, [[1, 1]]])
    code, said = bench.run("run")
    assert said["generations"] == 2
    assert '"aozora"' in bench.contents()
    assert "taro@midori" in bench.contents()
    code, said = bench.forget("aozora")
    assert (code, said["generations"], said["rewritten"], said["left"]) == (0, 2, 2, []), said
    assert said["lines"] == {"uid-aozora": 12}
    contents = bench.contents()
    for trace in ('"aozora"', 'uid-aozora"', "taro@midori", "aozora 様"):
        assert trace not in contents, trace
    rows, journals = kept(bench)
    assert {row["row"].get("name") or row["row"].get("tenant") for row in rows} == {"aozora-x", "midori", None}
    assert journals["1-aa.journal"] == '["C", "midori", 8, [[1, 1]]]\n'
    assert journals["2-bb.journal"] == '["C", "aozora-x", 9, [[1, 1]]]\n'
    unused = json.loads(bench.restic("stats", "--mode", "raw-data", "--json"))["total_size"]
    packs = sum(path.stat().st_size for path in (bench.root / "backup/repository/data").rglob("*") if path.is_file())
    assert packs < unused + 20_000, "packs hold what snapshots use, and their own headers"
    code, said = bench.forget("aozora")
    assert (code, said["rewritten"], said["lines"]) == (0, 0, {"uid-aozora": 0})
    code, said = bench.run("verify")
    assert (code, said["checked"], said["damaged"]) == (0, 2, {})


@pytest.mark.parametrize("what", ["data", "snapshots"])
async def test_a_generation_that_nobody_can_read_holds_no_erasure(bench: Bench, what: str) -> None:
    """It may name the tenant, and nothing needs it: it goes as a whole."""
    assert bench.run("run")[0] == 0
    folder = bench.root / "backup" / "repository" / what
    old = [path for path in folder.rglob("*") if path.is_file()]
    await asyncio.sleep(1.1)  # generations are named by the second
    await bench.sql("UPDATE tenant SET language = 'en'")
    bench.journal("2-bb.journal", ["C", "aozora-x", 9, [[1, 1]]])
    code, said = bench.run("run")
    assert (code, said["generations"]) == (0, 2), said
    for path in old if what == "data" else [path for path in old if path.exists()]:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1])
    code, said = bench.forget("aozora")
    # A journal that did not change is in the data of both.
    assert (code, said["unreadable"], said["left"]) == (0, 2 if what == "data" else 1, []), said
    assert '"aozora"' not in bench.contents()
    code, said = bench.run("run")
    assert (code, said["generations"], said["damaged"]) == (0, 1 if what == "data" else 2, []), said
    bench.restic("check", "--read-data")


def test_several_go_at_once_for_the_work_of_one_and_each_is_counted(bench: Bench) -> None:
    """restic is counted: the price of an erasure is its commands."""
    calls = bench.root / "calls"
    (bench.root / "bin").mkdir()
    counting = bench.root / "bin" / "restic"
    counting.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {find_restic()} "$@"\n')
    counting.chmod(0o755)
    path = f"{counting.parent}:{bench.environ['PATH']}"
    bench.journal("1-aa.journal", ["C", "aozora-x", 9, [[1, 1]]])
    assert bench.run("run")[0] == 0
    code, said = bench.forget("aozora-x", "midori", "hokanohito", PATH=path)
    assert (code, said["rewritten"], said["left"]) == (0, 1, []), said
    assert said["lines"] == {"uid-aozora-x": 5, "uid-midori": 5, "uid-hokanohito": 0}
    contents = bench.contents()
    assert '"aozora-x"' not in contents
    assert "midori" not in contents.replace("taro@midori", "")
    assert '"aozora"' in contents
    verbs = [next(w for w in line.split() if w in VERBS) for line in calls.read_text().splitlines()]
    assert verbs.count("restore") == 2, "each generation is read once to find them and once to look again"
    assert verbs.count("backup") == 1


def test_killed_while_it_forgets_it_loses_no_generation(bench: Bench) -> None:
    assert bench.run("run")[0] == 0
    names = bench.run("list")[1]["names"]
    ids = {s["id"] for s in json.loads(bench.restic("snapshots", "--json"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "elink_backup.server", "forget"],
        env={**bench.environ, "ELINK_LEAVERS": leavers("aozora"),
             "ELINK_TERMINATION_LOG": str(bench.root / "message")},
        start_new_session=True,
    )  # fmt: skip
    snapshots = bench.root / "backup" / "repository" / "snapshots"
    eventually(lambda: {path.name for path in snapshots.iterdir()} > ids, timeout=60, every=0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert bench.run("list")[1]["names"] == names
    code, said = bench.forget("aozora", ELINK_PATIENCE="30")
    assert (code, said["left"]) == (0, [])
    assert bench.run("list")[1]["names"] == names
    assert '"aozora"' not in bench.contents()


HOSTILE = [
    "", "{}", "[]", "null", "x" * 100, '["aozora"]', '[["aozora"]]', '[["aozora", ""]]', '[["aozora", 1]]',
    '[["", "u"]]', '[["Aozora", "u"]]', '[["aozora/../midori", "u"]]', '[["aozora", "u"], ["\\"", "u"]]',
]  # fmt: skip


@pytest.mark.parametrize("told", HOSTILE)
def test_forget_takes_exact_names_only(bench: Bench, told: str) -> None:
    code, said = bench.run("forget", ELINK_LEAVERS=told)
    assert (code, said["reason"]) == (2, "WrongEnvironment")
