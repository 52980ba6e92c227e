"""elink-backup beside plain tools and a peer that also proves what it wrote, all on the same database, turn by turn.

Floor: `pg_dump | zstd` and `zstd -d | pg_restore`. Peer: what an administrator does with restic by hand: `pg_dump` into
`restic backup --stdin`, then `restic check --read-data`; `restic dump | pg_restore`. Sealing alone, the least that any
backup into a restic repository costs: the same without the check, and with a key that opens at once.

All sides count the bytes of the uncompressed dump, so a ratio is that of the times. elink-backup also sums up every row
of the dump, and compares a restored database with these sums. A first backup goes into a new repository, made before
the clock starts by the side that uses it; those of the nights that follow find there what did not change. The key
is random, as the operator's are.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.data.cost import measured
from tests.support.postgres import Postgres, find_program, running
from tests.support.restic import find_restic

PROGRAMS = Path(__file__).resolve().parents[3] / "hack" / "images" / "backup"
SOURCE = "bench_source"
TARGET = "bench_target"
_ROW_BYTES = 400
_EDITS = 20
_KEY = secrets.token_urlsafe(32)
_MAKE = (
    "import os; from elink_backup.job import Job; from elink_backup.repository import Repository;"
    " store = Repository.of(Job.from_environment(os.environ)); store.ensure(); store.quicken()"
)
_RESTIC = "restic --no-cache -r $ELINK_BENCH_ROOT"
_SEALING = "sealing/repository"
"""Where `_MAKE` makes the repository of a store."""


@dataclass(frozen=True)
class Scene:
    """One database in one PostgreSQL, and a folder for everything else."""

    postgres: Postgres
    root: Path
    dump_bytes: int = 0

    @property
    def environment(self) -> dict[str, str]:
        programs = (Path(find_program("pg_dump")).parent, find_restic().parent)
        return {
            "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
            "PYTHONPATH": str(PROGRAMS),
            "PGPASSWORD": self.postgres.admin_password,
            "RESTIC_PASSWORD": _KEY,
            "ELINK_BENCH_ROOT": str(self.root),
            "ELINK_TENANT_ID": "bench",
            "ELINK_SECRET_DIR": str(self.root / "secrets"),
            "ELINK_SOURCE": str(self.root / "snapshot"),
            "ELINK_TERMINATION_LOG": str(self.root / "report"),
        }

    def shell(self, command: str) -> None:
        """A pipeline; the first failure in it fails the bench."""
        subprocess.run(["bash", "-ceu", f"set -o pipefail; {command}"], env=self.environment, check=True)

    def program(self, store: Path, *arguments: str) -> None:
        """The backup image's program."""
        self.python(store, "-m", "elink_backup.backup", *arguments)

    def python(self, store: Path, *arguments: str) -> None:
        """Python with the backup image's code."""
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, env={**self.environment, "ELINK_STORE": str(store)}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"elink-backup failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    @property
    def log_in(self) -> str:
        return f"-h {self.postgres.host} -p {self.postgres.port} -U {self.postgres.superuser}"

    def sql(self, statement: str, database: str = "postgres") -> Any:
        """One statement; the first value of its answer."""

        async def run() -> Any:
            connection = await self.postgres.connect(database)
            try:
                return await connection.fetchval(statement, timeout=3600)
            finally:
                await connection.close()

        return asyncio.run(run())


def measure_backup(megabytes: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Backup, then restore: MB/s of both sides (medians) and the ratio."""
    root = Path(tempfile.mkdtemp(prefix="elink-bench-data-"))
    try:
        with running(fsync=True) as postgres:
            scene = _prepare(Scene(postgres, root), megabytes)
            floor = root / "floor.zst"

            def plain_backup() -> None:
                scene.shell(f"pg_dump {scene.log_in} -Fc -Z0 -d {SOURCE} | zstd -q -f -o {floor}")

            def new_repositories() -> None:
                for name in ("store", "sealing", "peer"):
                    _empty(root / name)
                for name in ("store", "sealing"):
                    scene.python(root / name, "-c", _MAKE)
                scene.shell(f"{_RESTIC}/peer init -q")

            def own_backup() -> None:
                scene.program(root / "store", "run")

            def seal(name: str) -> None:
                scene.shell(f"pg_dump {scene.log_in} -Fc -Z0 -d {SOURCE} | {_RESTIC}/{name} backup -q --stdin")

            def unseal(name: str) -> None:
                into = f"pg_restore {scene.log_in} --exit-on-error -d {TARGET}"
                scene.shell(f"{_RESTIC}/{name} dump latest stdin | {into}")

            def peer_backup() -> None:
                seal("peer")
                scene.shell(f"{_RESTIC}/peer check -q --read-data")

            def plain_restore() -> None:
                scene.shell(f"zstd -q -d -c {floor} | pg_restore {scene.log_in} --exit-on-error -d {TARGET}")

            def own_restore() -> None:
                _empty(root / "back")
                scene.program(
                    root / "store", "restore", "--into-database", TARGET, "--into-directory", str(root / "back")
                )

            backups = {
                "plain": plain_backup,
                "sealing": lambda: seal(_SEALING),
                "peer": peer_backup,
                "elink": own_backup,
            }
            for figure, before_round in (
                ("first backup", new_repositories),
                ("next night's backup", lambda: _a_day(scene)),
            ):
                yield _compare(figure, scene, rounds, backups, before_round, before_each=lambda: None)
            restores = {
                "plain": plain_restore,
                "sealing": lambda: unseal(_SEALING),
                "peer": lambda: unseal("peer"),
                "elink": own_restore,
            }
            yield _compare("restore", scene, rounds, restores, lambda: None, before_each=lambda: _new_target(scene))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _prepare(scene: Scene, megabytes: int) -> Scene:
    for name in ("secrets", "store", "sealing", "peer", "back", "snapshot/files", "snapshot/database"):
        (scene.root / name).mkdir(parents=True)
    values = {
        "host": scene.postgres.host,
        "port": str(scene.postgres.port),
        "database": SOURCE,
        "username": scene.postgres.superuser,
        "password": scene.postgres.admin_password,
        "repository-key": _KEY,
    }
    for key, value in values.items():
        (scene.root / "secrets" / key).write_text(value)
    scene.sql(f"CREATE DATABASE {SOURCE}")
    rows = megabytes * 1_000_000 // _ROW_BYTES
    scene.sql("CREATE TABLE address (id bigint PRIMARY KEY, email text, name text, notes text)", SOURCE)
    scene.sql(_rows(1, rows), SOURCE)
    scene.sql("CREATE INDEX ON address (email)", SOURCE)
    scene.shell(f"pg_dump {scene.log_in} -Fc -Z0 -d {SOURCE} -f {scene.root}/size")
    size = (scene.root / "size").stat().st_size
    (scene.root / "size").unlink()
    return Scene(scene.postgres, scene.root, size)


def _rows(first: int, last: int) -> str:
    # About a third of each row is noise, as hashes and addresses in real ones are.
    words = "repeat('株式会社あおぞら商店 東京都千代田区 ', 3)"
    return (
        f"INSERT INTO address SELECT g, md5(g::text) || '@example.co.jp', md5((g * 7)::text),"
        f" {words} || md5((g * 3)::text) FROM generate_series({first}, {last}) g"
    )


def _a_day(scene: Scene) -> None:
    """One row in a hundred is new, and twenty of the others were changed."""
    last = int(scene.sql("SELECT max(id) FROM address", SOURCE))
    scene.sql(_rows(last + 1, last + max(1, last // 100)), SOURCE)
    scene.sql(f"UPDATE address SET name = 'changed' WHERE id % {max(1, last // _EDITS)} = 0", SOURCE)


def _compare(
    what: str,
    scene: Scene,
    rounds: int,
    sides: Mapping[str, Callable[[], None]],
    before_round: Callable[[], None],
    *,
    before_each: Callable[[], None],
) -> dict[str, Any]:
    times: dict[str, list[float]] = {side: [] for side in sides}
    work: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(max(1, rounds)):
        before_round()
        for side, run in sides.items():
            before_each()
            with measured() as cost:
                run()
            times[side].append(cost.seconds)
            work[side].append(cost.processor)
    median = {side: statistics.median(taken) for side, taken in times.items()}
    speed = {side: round(scene.dump_bytes / 1e6 / seconds, 1) for side, seconds in median.items()}
    return {
        "figure": what,
        "megabytes": round(scene.dump_bytes / 1e6, 1),
        "rounds": rounds,
        "mb_per_second": speed,
        "ratio_to_plain": {side: round(median["plain"] / taken, 2) for side, taken in median.items()},
        "ratio_to_peer": round(median["peer"] / median["elink"], 2),
        "processor_seconds": {side: round(statistics.median(used), 2) for side, used in work.items()},
        "seconds": {side: [round(t, 2) for t in taken] for side, taken in times.items()},
    }


def _new_target(scene: Scene) -> None:
    scene.sql(f"DROP DATABASE IF EXISTS {TARGET}")
    scene.sql(f"CREATE DATABASE {TARGET} TEMPLATE template0")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
