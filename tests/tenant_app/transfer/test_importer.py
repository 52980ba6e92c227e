"""Imports through the real worker: what is new, changed, refused; killed at every point; undone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import orjson
import pytest
from elink_app.ops.servers import Stop
from elink_app.transfer import bulk, importer
from sqlalchemy.exc import DBAPIError

from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import Bench, make_bench, person, table

pytestmark = pytest.mark.postgres


@pytest.fixture
async def bench(world: World) -> Bench:
    return await make_bench(world)


def counts(job: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in job["result"].items() if name in importer.COUNTS and value}


async def test_new_rows_arrive_whole(bench: Bench) -> None:
    row = [
        "山田　太郎", "やまだ ﾀﾛｳ", "株式会社やまだ", "Taro@Example.CO.JP", "０３-1234-5678", "〒1000001",
        "東京都千代田区1-1\r\nビル", "一行目\n二行目", "取引先、年賀状,取引先",
    ]  # fmt: skip
    job = await bench.imported(table(row, person("二人目")))
    assert (job["state"], counts(job), job["done"], job["total"]) == ("done", {"new": 2}, 2, 2)
    first, second = await bench.addresses()
    assert {name: value for name, value in first.items() if name not in ("id", "version")} == {
        "name": "山田　太郎", "kana": "ヤマダ タロウ", "company": "株式会社やまだ", "emails": ["Taro@example.co.jp"],
        "phone": "03-1234-5678", "postal_code": "100-0001", "postal_address": "東京都千代田区1-1\nビル",
        "notes": "一行目\n二行目", "tags": ["取引先", "年賀状"],
    }  # fmt: skip
    assert second["name"] == "二人目"
    assert (await bench.row("SELECT value FROM usage"))["value"] == 2
    found = await bench.rows("SELECT id FROM address WHERE search_grams @> ARRAY['やま'] AND deleted_at IS NULL")
    assert [row["id"] for row in found] == [first["id"]]
    line = await bench.row("SELECT action, after::text FROM audit_entry")
    assert line["action"] == "addresses.imported"
    assert '"new": 2' in line["after"]


async def test_an_address_with_the_same_e_mail_is_changed_by_filled_cells_only(bench: Bench) -> None:
    await bench.imported(table(person("山田", "a@x.jp", phone="03-1", tags="甲", notes="残る")))
    again = table(person("山田 太郎", "A@X.jp", tags="乙"), person("別人", "b@x.jp"))
    job = await bench.imported(again)
    assert counts(job) == {"new": 1, "changed": 1}
    first, second = await bench.addresses()
    assert (first["name"], first["phone"], first["notes"], first["version"]) == ("山田 太郎", "03-1", "残る", 2)
    assert (first["emails"], first["tags"]) == (["a@x.jp"], ["乙", "甲"])
    assert second["name"] == "別人"
    assert counts(await bench.imported(again)) == {"unchanged": 2}
    assert counts(await bench.imported(again, existing="skip")) == {"skipped": 2}
    assert counts(await bench.imported(again, existing="add")) == {"new": 2}
    assert len(await bench.addresses()) == 4


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_the_same_e_mail_twice_is_the_same_in_one_batch_and_across(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(importer, "BATCH", size)
    rows = [
        person("一", "a@x.jp b@x.jp"),
        person("二", "b@x.jp c@x.jp"),
        person("三", "a@x.jp"),
        person("四", "c@x.jp"),
    ]
    job = await bench.imported(table(*rows))
    assert counts(job) == {"new": 1, "changed": 3}
    (only,) = await bench.addresses()
    assert (only["name"], only["emails"], only["version"]) == ("四", ["a@x.jp", "b@x.jp", "c@x.jp"], 4)
    check = await bench.imported(table(*rows), kind="import-check")
    assert (check["state"], counts(check)) == ("done", {"changed": 3, "unchanged": 1})


async def test_bad_rows_are_kept_with_every_reason_and_the_rest_is_taken(bench: Bench) -> None:
    rows = [
        person("良い", "ok@x.jp"),
        person("悪い", "not an address", phone="abc"),
        ["", "カナ", *[""] * 7],
        person("a\0b", "nul@x.jp"),
        [*person("長い"), "余り"],
    ]
    job = await bench.imported(table(*rows))
    assert counts(job) == {"new": 1, "bad": 4}
    bad = await bench.rows("SELECT number, cells, reasons::text FROM import_bad_row ORDER BY number")
    assert [row["number"] for row in bad] == [2, 3, 4, 5]
    assert '"email"' in bad[0]["reasons"]
    assert '"phone"' in bad[0]["reasons"]
    assert '"no_name"' in bad[1]["reasons"]
    assert '"control_character"' in bad[2]["reasons"]
    assert '"too_many_cells"' in bad[3]["reasons"]
    assert bad[0]["cells"] == rows[1]


async def test_a_cell_that_grows_beyond_its_field_refuses_its_row_and_no_other(bench: Bench) -> None:
    """A member number in the wrong column is as long as a postal code, until it gets the hyphen of one."""
    rows = [person("一"), person("二", postal_code="1234567890123456"), person("三", tags="㌖" * 20), person("四")]
    job = await bench.imported(table(*rows))
    assert (job["state"], counts(job)) == ("done", {"new": 2, "bad": 2})
    assert [row["name"] for row in await bench.addresses()] == ["一", "四"]
    reasons = await bench.rows("SELECT reasons->0->>1 AS code FROM import_bad_row ORDER BY number")
    assert [row["code"] for row in reasons] == ["string_too_long"] * 2


async def test_the_plan_is_filled_in_the_order_of_the_file(world: World) -> None:
    bench = await make_bench(world, limits={"addresses": 3})
    await bench.imported(table(person("前から", "old@x.jp")))
    rows = [person(f"n{n}", f"n{n}@x.jp") for n in range(4)] + [person("前から二", "old@x.jp")]
    check = await bench.imported(table(*rows), kind="import-check")
    assert (counts(check), check["result"]["over_limit"]) == ({"new": 4, "changed": 1}, 2)
    job = await bench.imported(table(*rows))
    assert counts(job) == {"new": 2, "changed": 1, "bad": 2}
    assert [row["name"] for row in await bench.addresses()] == ["前から二", "n0", "n1"]
    bad = await bench.rows("SELECT number FROM import_bad_row ORDER BY number")
    assert [row["number"] for row in bad] == [3, 4]


async def test_a_check_changes_nothing(bench: Bench) -> None:
    await bench.imported(table(person("山田", "a@x.jp")))
    rows = table(person("山田 太郎", "a@x.jp"), person("新", "n@x.jp"), person("新二", "n@x.jp"), person("悪", "@"))
    check = await bench.imported(rows, kind="import-check")
    assert counts(check) == {"new": 1, "changed": 2, "bad": 1}
    assert [(row["name"], row["version"]) for row in await bench.addresses()] == [("山田", 1)]
    assert counts(await bench.imported(rows)) == counts(check)


async def test_killed_anywhere_and_taken_up_again_every_row_arrives_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is cut off at its 1st, 2nd, 3rd ... statement; a new one goes on until the next cut."""
    monkeypatch.setattr(importer, "BATCH", 7)
    rows = [person(f"名前{n}", f"n{n % 40}@x.jp", tags=f"t{n % 5}") for n in range(60)]
    rows[13] = person("悪い", "@")
    number = await bench.start_import(table(*rows))
    cuts = 0
    job = await bench.job(number)
    while job["state"] in ("queued", "running"):
        cuts += 1
        with cut_after(monkeypatch, 1 + cuts % 23), contextlib.suppress(asyncio.CancelledError, DBAPIError):
            await bench.runner().run(bench.tenant, Stop())
        await bench.rows("UPDATE job SET lease_until = now() - interval '1 minute', attempts = 0 RETURNING id")
        job = await bench.job(number)
        assert cuts < 400
    assert cuts > 10
    assert (job["state"], counts(job)) == ("done", {"new": 40, "changed": 19, "bad": 1})
    people = await bench.addresses()
    assert {row["name"] for row in people} == {f"名前{n}" for n in (*range(20, 60),)}
    assert sorted(row["emails"][0] for row in people) == sorted(f"n{n}@x.jp" for n in range(40))
    assert (await bench.row("SELECT value FROM usage"))["value"] == 40
    assert len(await bench.rows("SELECT 1 FROM import_bad_row")) == 1
    assert len(await bench.rows("SELECT 1 FROM audit_entry")) == 1


@contextlib.contextmanager
def cut_after(monkeypatch: pytest.MonkeyPatch, statements: int) -> Any:
    """The n-th statement that goes to the server is the last of this process: it is sent, its answer never comes."""
    left = statements

    def wrapped(name: str) -> Any:
        real = getattr(asyncpg.Connection, name)

        async def call(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            answer = await real(self, *args, **options)
            if left == 0:
                self.terminate()
                raise asyncio.CancelledError
            return answer

        return call

    with monkeypatch.context() as patch:
        for name in ("fetch", "fetchval", "execute", "executemany", "copy_records_to_table", "copy_to_table"):
            patch.setattr(asyncpg.Connection, name, wrapped(name))
        yield


async def test_undo_takes_back_what_nobody_touched_since(bench: Bench) -> None:
    await bench.imported(table(person("山田", "a@x.jp", tags="甲"), person("佐藤", "b@x.jp")))
    before = await bench.addresses()
    job = await bench.imported(
        table(
            person("山田二", "a@x.jp", tags="乙"),
            person("佐藤二", "b@x.jp"),
            person("新", "n@x.jp"),
            person("新二", "n@x.jp"),
        )
    )
    await bench.rows("UPDATE address SET name = '手で', version = version + 1 WHERE name = '佐藤二' RETURNING id")
    number = await bench.start("import-undo", job=job["id"])
    await bench.work()
    undone = await bench.job(number)
    assert (undone["state"], undone["result"]) == ("done", {"deleted": 1, "restored": 1, "kept": 1})
    first, second = await bench.addresses()
    assert {**first, "version": 1} == before[0]
    assert second["name"] == "手で"
    assert (await bench.row("SELECT value FROM usage"))["value"] == 2


async def test_looking_for_known_e_mails_does_not_read_the_whole_book(bench: Bench) -> None:
    """A few hundred at once, while the planner still takes the book for empty: it read all of it for each batch."""
    await bench.rows("ALTER TABLE address_email SET (autovacuum_enabled = off)")
    await bench.imported(table(*(person(f"n{n}", f"n{n}@x.jp") for n in range(3000))))
    async with bench.world.server.inside(bench.tenant.database) as inside, inside.transaction():
        await inside.execute(bulk._FOR_BATCHES)
        keys = [f"n{n}@x.jp" for n in range(2990, 3240)]
        (found,) = await inside.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {bulk._MATCH}", keys, [])
    read = [node["Actual Rows"] * node["Actual Loops"] for node in nodes(orjson.loads(found[0])[0]["Plan"])]
    dropped = [node.get("Rows Removed by Filter", 0) for node in nodes(orjson.loads(found[0])[0]["Plan"])]
    assert max(read + dropped) <= len(keys)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(one for part in plan.get("Plans", []) for one in nodes(part))]
