"""The process that reads for imports: shared, confined, killed at any moment, and gone with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from elink_app.transfer import importer, reader, source, table_reader
from elink_app.transfer.plan import Plan
from elink_app.transfer.reader import Reader
from elink_app.transfer.rows import Row
from elink_app.transfer.source import RowSource
from elink_app.transfer.tables import MAX_COLUMNS, BadTable

from tests.tenant_app.support import World, eventually
from tests.tenant_app.transfer.support import COLUMNS, make_bench, person, table

PLAN = Plan.model_validate({"columns": COLUMNS})
ORPHAN = """
import asyncio, sys
from pathlib import Path
from elink_app.transfer.plan import Plan
from elink_app.transfer.reader import Reader
from elink_app.transfer.source import RowSource

async def main():
    reader = Reader()
    await RowSource(reader, Path(sys.argv[1]), Plan(columns=["name"]), 1, []).take(0)
    print(reader.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def shared() -> Reader:
    return Reader()


def file_of(folder: Path, rows: int, name: str = "f") -> Path:
    path = folder / name
    path.write_bytes(table(*(person(f"{name}{n}", f"{name}{n}@x.jp") for n in range(1, rows + 1))))
    return path


def is_gone(pid: int | None) -> bool:
    """True for a process that ended, also when nobody has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def take_all(opened: RowSource, after: int = 0) -> list[Row]:
    found: list[Row] = []
    while rows := await opened.take(after):
        found += rows
        after += len(rows)
    return found


async def test_it_is_killed_between_batches_and_in_the_middle_of_one(tmp_path: Path, shared: Reader) -> None:
    opened = RowSource(shared, file_of(tmp_path, 60), PLAN, 7, [])
    rows: list[Row] = []
    pids: list[int] = []
    while part := await opened.take(len(rows)):
        rows += part
        if len(pids) < 4 and shared.pid is not None and shared.pid not in pids:
            pids.append(shared.pid)
            if len(pids) % 2:
                # It has read ahead by then; else it is about to.
                await asyncio.sleep(0.2)
            os.kill(shared.pid, signal.SIGKILL)
            await eventually(lambda: is_gone(pids[-1]))
    assert [(row.number, row.cells[0]) for row in rows] == [(n, f"f{n}") for n in range(1, 61)]
    assert len(pids) == 4
    opened.close()
    await eventually(lambda: all(map(is_gone, pids)))


async def test_all_files_share_one_and_it_ends_with_the_last(tmp_path: Path, shared: Reader) -> None:
    one, two = (RowSource(shared, file_of(tmp_path, 20, name), PLAN, 4, []) for name in ("a", "b"))
    first, second = await asyncio.gather(take_all(one), take_all(two))
    pid = shared.pid
    assert [row.cells[0] for row in first + second] == [f"{name}{n}" for name in "ab" for n in range(1, 21)]
    one.close()
    assert [row.number for row in await take_all(two, 10)] == [*range(11, 21)]
    assert shared.pid == pid
    two.close()
    assert shared.pid is None
    await eventually(lambda: is_gone(pid))


async def test_a_file_that_kills_it_again_and_again_is_given_up_and_others_go_on(
    tmp_path: Path, shared: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = RowSource(shared, file_of(tmp_path, 9), PLAN, 2, [])
    rows = await good.take(0)
    bad = RowSource(shared, file_of(tmp_path, 9, "g"), PLAN, 2, [])
    real = reader._exchange
    killed = []

    async def exchange(channel: Any, request: bytes, file: Any) -> Any:
        asked = orjson.loads(request)
        if asked.get("new", {}).get("size") == 2 and file is bad._file and shared.pid is not None:
            killed.append(shared.pid)
            os.kill(shared.pid, signal.SIGKILL)
        return await real(channel, request, file)

    monkeypatch.setattr(reader, "_exchange", exchange)
    results = await asyncio.gather(bad.take(0), take_all(good, len(rows)), return_exceptions=True)
    assert isinstance(results[0], BadTable)
    assert "memory or time" in results[0].message.msgid
    assert len(set(killed)) == source._TRIES
    assert not isinstance(results[1], BaseException)
    assert [row.number for row in rows + results[1]] == [*range(1, 10)]
    bad.close()
    good.close()
    assert shared.pid is None


async def test_a_batch_ends_before_it_takes_too_much_memory(tmp_path: Path, shared: Reader) -> None:
    path = tmp_path / "f"
    path.write_bytes(table(*(person(f"n{n}", notes="長" * 4000) for n in range(700))))
    opened = RowSource(shared, path, PLAN, 1000, [])
    first = await opened.take(0)
    most = table_reader.MOST_CHARACTERS // 4000
    assert most <= len(first) <= most + 1
    assert [row.number for row in first + await take_all(opened, len(first))] == [*range(1, 701)]
    opened.close()


async def test_what_is_wrong_with_a_file_arrives_whole(tmp_path: Path, shared: Reader) -> None:
    path = tmp_path / "f"
    path.write_bytes(table(person("良い"), [*["x"] * (MAX_COLUMNS + 1)]))
    opened = RowSource(shared, path, PLAN, 1, [])
    assert len(await opened.take(0)) == 1
    with pytest.raises(BadTable) as caught:
        await opened.take(1)
    assert caught.value.message.params == {"number": 3, "columns": MAX_COLUMNS + 1, "most": MAX_COLUMNS}
    opened.close()
    assert shared.pid is None


async def test_it_knows_no_secret_and_has_limits(
    tmp_path: Path, shared: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELINK_DATABASE_PASSWORD", "hunter2")
    opened = RowSource(shared, file_of(tmp_path, 3), PLAN, 1, [])
    await opened.take(0)
    process = Path(f"/proc/{shared.pid}")
    given = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert b"hunter2" not in given
    assert str(tmp_path).encode() not in given
    limits = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}
    assert limits["Max address space"].isdigit()
    assert limits["Max cpu time"].isdigit()
    assert (limits["Max file size"], limits["Max core file size"]) == ("0", "0")
    assert (process / "oom_score_adj").read_text().strip() == "1000"
    opened.close()


def test_an_error_of_ours_says_where_and_nothing_of_the_file() -> None:
    answer = orjson.loads(table_reader._answer({}, {"table": 4711, "forget": []}, None))
    assert answer["failed"].startswith("KeyError\n")
    assert "_answer" in answer["failed"]
    assert "4711" not in answer["failed"]


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"name\nx\ny\nz\n")
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(path)], stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    while not is_gone(pid):
        time.sleep(0.02)


@pytest.mark.postgres
@pytest.mark.parametrize("size", [1, 3, 4])
async def test_bad_rows_at_the_borders_of_batches(world: World, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(importer, "BATCH", size)
    bench = await make_bench(world)
    bad = {1, 3, 4, 8, 9, 12}
    rows = [person(f"n{n}", "@" if n in bad else f"n{n}@x.jp") for n in range(1, 13)]
    job = await bench.imported(table(*rows))
    assert (job["state"], job["result"]["new"], job["result"]["bad"], job["done"]) == ("done", 6, 6, 12)
    kept = await bench.rows("SELECT number, cells FROM import_bad_row ORDER BY number")
    assert {row["number"]: row["cells"] for row in kept} == {n: rows[n - 1] for n in sorted(bad)}
    assert [row["name"] for row in await bench.addresses()] == [f"n{n}" for n in range(1, 13) if n not in bad]


@pytest.mark.postgres
async def test_without_a_reader_an_import_fails_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await make_bench(world)
    with monkeypatch.context() as patch:
        # It ends before it answers.
        patch.setattr(reader, "_MODULE", "this")
        job = await bench.imported(table(person("一", "a@x.jp")))
    assert job["state"] == "failed"
    assert "memory or time" in job["error"]
    assert await bench.addresses() == []
    assert (await bench.imported(table(person("一", "a@x.jp"))))["state"] == "done"
