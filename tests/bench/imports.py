"""How fast an import is, next to the floor: `python -m tests.bench.imports [--rows 200000]`.

The whole way: a CP932 file, the real job, a real PostgreSQL with fsync. The floor, in the same run: the same file
decoded, taken apart by `csv` and copied by asyncpg into a table without indexes. Prints one JSON line: rows per
second, their ratio, the peak memory of the process (which plays the worker) and of the one that reads for it, and the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import os
import platform
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg
from elink_app.audit.service import SYSTEM
from elink_app.clock import utc_now
from elink_app.jobs.runner import JobRunner
from elink_app.jobs.service import Jobs
from elink_app.ops.servers import Stop
from elink_app.process_worker import tune_interpreter
from elink_app.registry.tenant import Tenant
from elink_app.transfer.handlers import make_handlers
from elink_app.transfer.plan import Plan
from elink_app.transfer.reader import Reader
from elink_app.transfer.store import FileStore, Shelf

from tests.bench.cpu import cpu_of_postgres
from tests.support.postgres import running
from tests.tenant_app.support import Server, World, make_settings, running_world

COLUMNS = ["name", "kana", "company", "emails", "phone", "postal_code", "postal_address", "notes", "tags"]
FAMILY = ["佐藤サトウ", "鈴木スズキ", "髙橋タカハシ", "田中タナカ", "伊藤イトウ", "渡邉ワタナベ", "山本ヤマモト"]
GIVEN = ["太郎タロウ", "花子ハナコ", "健一ケンイチ", "美咲ミサキ", "翔太ショウタ", "陽菜ヒナ", "大輔ダイスケ"]


def split(name: str) -> tuple[str, str]:
    """`佐藤サトウ` -> kanji, reading."""
    at = next(n for n, c in enumerate(name) if "ァ" <= c <= "ヺ")
    return name[:at], name[at:]


def make_file(path: Path, rows: int) -> None:
    """Rows as a customer's list has them; every e-mail once."""
    random = Random(1)
    with path.open("w", encoding="cp932", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(rows):
            family, given = split(random.choice(FAMILY)), split(random.choice(GIVEN))
            writer.writerow([
                f"{family[0]} {given[0]}", f"{family[1]} {given[1]}", f"株式会社{family[0]}商店",
                f"user{number}@example{number % 997}.co.jp", f"03-{random.randrange(10000):04}-{number % 10000:04}",
                f"{random.randrange(1000):03}-{random.randrange(10000):04}",
                f"東京都千代田区{random.randrange(1, 9)}-{random.randrange(1, 30)}", f"会員番号 {number}",
                random.choice(["取引先", "年賀状", "取引先、年賀状"]),
            ])  # fmt: skip


async def floor(connection: asyncpg.Connection, path: Path) -> float:
    """Seconds for decoding, csv and COPY."""
    await connection.execute(f"CREATE TABLE bare ({', '.join(f'{name} text' for name in COLUMNS)})")
    started = time.perf_counter()
    with path.open(encoding="cp932", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        await connection.copy_records_to_table("bare", records=map(tuple, reader))
    return time.perf_counter() - started


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of a processor by this process, by the one that reads for it and by PostgreSQL."""

    clock: float
    worker: float
    reader: float
    postgres: float
    # The most memory of the one that reads, KiB.
    reader_peak: int


def cpu_of_ended_children() -> float:
    """Processor seconds of children that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_of(pid: int | None) -> int:
    """The most memory of a process so far, KiB; 0 when there is none."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])
    return 0


async def watch_memory(reader: Reader, peaks: list[int]) -> None:
    """Append the most memory of the reader so far, again and again."""
    while True:
        peaks.append(peak_of(reader.pid))
        await asyncio.sleep(0.2)


async def whole(world: World, tenant: Tenant, file: str) -> tuple[Spent, dict[str, int]]:
    """What the job took, and what it counted."""
    plan = Plan.model_validate({"columns": COLUMNS, "encoding": "cp932"}).model_dump(mode="json")
    parameters = {"file": file, "plan": plan, "rights": {"is_master": True}}
    async with world.parts.databases.transaction(tenant) as db:
        number = await Jobs(db, utc_now).start("import", parameters, SYSTEM)
    reader, peaks = Reader(), [0]
    handlers = make_handlers(FileStore(world.server.settings.tenants_dir), utc_now, reader)
    postgres = world.server.postgres
    watching = asyncio.create_task(watch_memory(reader, peaks))
    started, used, database = time.perf_counter(), time.process_time(), cpu_of_postgres(postgres)
    read = cpu_of_ended_children()
    await JobRunner(world.parts.databases, handlers, utc_now).run(tenant, Stop())
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    # Its end is waited for by a thread.
    await asyncio.sleep(0.5)
    read, database = cpu_of_ended_children() - read, cpu_of_postgres(postgres) - database
    watching.cancel()
    async with world.server.inside(tenant.database) as inside:
        row = await inside.fetchrow("SELECT state, result::text FROM job WHERE id = $1", number)
    assert row is not None
    assert row["state"] == "done", row
    return Spent(seconds, cpu, read, database, max(peaks)), json.loads(row["result"])


async def measure(rows: int, folder: Path) -> dict[str, object]:
    """Everything in one run."""
    tune_interpreter()
    with running(fsync=True) as postgres:
        server = Server(postgres, make_settings(postgres, folder))
        await server.prepare()
        async with running_world(server) as world:
            made = await world.tenant(limits={})
            tenant = world.parts.directory.get(made.name)
            assert tenant is not None
            store = FileStore(server.settings.tenants_dir)
            file = store.new(tenant, Shelf.IMPORTS)
            path = store.path(tenant, Shelf.IMPORTS, file)
            make_file(path, rows)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            spent, counts = await whole(world, tenant, file)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert counts["new"] == rows, counts
            async with server.inside(made.database) as inside:
                bare = await floor(inside, path)
    return {
        "rows": rows,
        "rows_per_second": round(rows / spent.clock),
        "floor_rows_per_second": round(rows / bare),
        "ratio": round(spent.clock / bare, 1),
        "worker_cpu_us_per_row": round(spent.worker / rows * 1e6),
        "reader_cpu_us_per_row": round(spent.reader / rows * 1e6),
        "postgres_cpu_us_per_row": round(spent.postgres / rows * 1e6),
        "peak_mib": (peak + spent.reader_peak) >> 10,
        "peak_reader_mib": spent.reader_peak >> 10,
        "peak_before_mib": before >> 10,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(given.rows, Path(folder)))))


if __name__ == "__main__":
    main()
