"""How long the address book takes with a million addresses: `make bench-addresses`, or `… --rows 50000` for a look.

A real PostgreSQL, filled by SQL with Japanese names, three own fields and twenty tags; every query goes through the
services that pages and API use. Times are of whole calls (SQL, objects, output), beside a floor in the same run: fifty
rows by primary key through the driver alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from elink_app.accounts.permissions import ALL, Principal
from elink_app.addresses.repository import Cursor, Order
from elink_app.addresses.service import AddressBook, Query
from elink_app.audit.service import Actor
from elink_app.clock import utc_now
from elink_app.registry.tenant import Tenant
from elink_app.segments.compile import tree_members
from elink_app.segments.schemas import TREE
from elink_app.segments.service import Segments

from tests.bench.cpu import cpu_of_postgres
from tests.support.postgres import Postgres, running
from tests.tenant_app.support import Server, World, make_settings, new_tenant, running_world

ROUNDS = 20
TARGET_MS = 200
MASTER = Principal(1, "master@example.jp", "", True, ALL, None)
CLERK = Principal(2, "clerk@example.jp", "", False, ALL, None, frozenset({1}))
ACTOR = Actor(None, "bench", "")

# Twenty family and twenty given names, forty companies: a two-character search finds some per cent, as in life.
FILL = """
CREATE TEMP TABLE family (i int, kanji text, kana text);
INSERT INTO family SELECT row_number() OVER () - 1, * FROM (VALUES
 ('佐藤','さとう'),('鈴木','すずき'),('高橋','たかはし'),('田中','たなか'),('伊藤','いとう'),('渡辺','わたなべ'),
 ('山本','やまもと'),('中村','なかむら'),('小林','こばやし'),('加藤','かとう'),('吉田','よしだ'),('山田','やまだ'),
 ('佐々木','ささき'),('山口','やまぐち'),('松本','まつもと'),('井上','いのうえ'),('木村','きむら'),('林','はやし'),
 ('斉藤','さいとう'),('清水','しみず')) AS v;
CREATE TEMP TABLE given (i int, kanji text, kana text);
INSERT INTO given SELECT row_number() OVER () - 1, * FROM (VALUES
 ('太郎','たろう'),('健一','けんいち'),('花子','はなこ'),('美咲','みさき'),('翔太','しょうた'),('陽子','ようこ'),
 ('直樹','なおき'),('恵子','けいこ'),('大輔','だいすけ'),('由美','ゆみ'),('誠','まこと'),('久美子','くみこ'),
 ('拓也','たくや'),('幸子','さちこ'),('隆','たかし'),('真由美','まゆみ'),('健太','けんた'),('裕子','ゆうこ'),
 ('浩','ひろし'),('明美','あけみ')) AS v;
INSERT INTO attribute (key, label, type, choices, position) VALUES
 ('rank', 'ランク', 'choice', '["A", "B", "C", "D"]', 1), ('points', 'ポイント', 'number', '[]', 2),
 ('joined', '入会日', 'date', '[]', 3);
INSERT INTO tag (name, key, is_label) SELECT 'タグ' || n, 'たぐ' || n, n = 20 FROM generate_series(1, 20) AS n;
CREATE FUNCTION pg_temp.pairs(line text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
 SELECT array_agg(DISTINCT substr(part, i, 2)) FROM unnest(string_to_array(line, E'\\n')) AS part,
 LATERAL generate_series(1, length(part) - 1) AS i $$;
INSERT INTO address (name, kana, company, phone, notes, name_form, company_form, phone_digits, sort_key, search_text,
 search_grams, attributes, tag_ids, created_at, updated_at)
SELECT name, kana, company, phone, '', f, cf, phone, k || E'\\x01' || k, line, pg_temp.pairs(line),
 jsonb_build_object('rank', chr(65 + (n * 7 % 100 > 90)::int + (n % 3)::int), 'points', n * 13 % 10000,
 'joined', (date '2010-01-01' + (n * 17 % 5000)::int)::text), tags, at, at
FROM (SELECT n, a.kanji || ' ' || b.kanji AS name, a.kana || ' ' || b.kana AS kana, a.kanji || b.kanji AS f,
  a.kana || b.kana AS k, '株式会社' || c.kanji || n % 997 || '商店' AS company,
  '株式会社' || c.kanji || n % 997 || '商店' AS cf, '03' || lpad((n * 7919 % 100000000)::text, 8, '0') AS phone,
  a.kanji || b.kanji || E'\\n' || a.kana || b.kana || E'\\n株式会社' || c.kanji || n % 997 || E'商店\\nuser' || n
  || '@example' || n % 50 || E'.jp\\n03' || lpad((n * 7919 % 100000000)::text, 8, '0') AS line,
  (SELECT coalesce(array_agg(t.id ORDER BY t.id), '{}') FROM tag AS t
   WHERE (n * 31 + t.id * 17) % (t.id * 5 + 3) = 0 AND (t.id < 19 OR n % 1000 = 0)) AS tags,
  now() - n * interval '37 seconds' AS at
 FROM generate_series($1::bigint, $2::bigint) AS n
 JOIN family AS a ON a.i = hashint8(n) & 15 JOIN given AS b ON b.i = (hashint8(n) >> 5) & 15
 JOIN family AS c ON c.i = (hashint8(n) >> 10) & 15) AS made;
"""
PARTS = """
INSERT INTO address_email (address_id, position, email, email_key)
 SELECT id, 0, 'user' || id || '@example.jp', 'user' || id || '@example.jp' FROM address;
INSERT INTO address_tag (address_id, tag_id) SELECT id, unnest(tag_ids) FROM address;
INSERT INTO suppression (email_key, reason) SELECT 'user' || id || '@example.jp', 'bounced' FROM address
 WHERE id % 50 = 0;
INSERT INTO consent (email_key, kind, at) SELECT 'user' || id || '@example.jp', 'given', now() FROM address
 WHERE id % 3 = 0;
"""
SEGMENT = {
    "kind": "all",
    "of": [
        {"kind": "tag", "tag_id": 9},
        {"kind": "attribute", "key": "rank", "op": "is", "value": "A"},
        {"kind": "none", "of": [{"kind": "suppression", "suppressed": True}]},
    ],
}
WIDE = {
    "kind": "all",
    "of": [
        {"kind": "attribute", "key": "points", "op": "at_least", "value": 9000},
        {"kind": "consent", "state": "given"},
    ],
}

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Times:
    """Milliseconds of a call: by the clock, and of processors (this process and PostgreSQL)."""

    median: float
    late: float
    processor: float


async def measured(postgres: Postgres, call: Call) -> Times:
    """Median, 95th percentile and mean processor time, after three calls that do not count."""
    for _ in range(3):
        await call()
    times = []
    before = cpu_of_postgres(postgres) + time.process_time()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1000)
    spent = (cpu_of_postgres(postgres) + time.process_time() - before) * 1000 / ROUNDS
    return Times(statistics.median(times), sorted(times)[int(ROUNDS * 0.95) - 1], spent)


async def fill(server: Server, database: str, rows: int) -> None:
    """Make the addresses; the plain statements first, the one with parameters in steps."""
    *setup, insert = [part for part in FILL.split(";\n") if part.strip()]
    async with server.inside(database) as inside:
        for statement in setup:
            await inside.execute(statement)
        # Indexes of a full table are built faster than kept while it fills.
        indexes = await inside.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'address%' AND indexname LIKE 'ix_%'"
        )
        for index in indexes:
            await inside.execute(f"DROP INDEX {index['indexname']}")
        step = 100_000
        for first in range(1, rows + 1, step):
            await inside.execute(insert, first, min(first + step - 1, rows))
        await inside.execute("SET maintenance_work_mem = '512MB'")
        for index in indexes:
            await inside.execute(index["indexdef"])
        for statement in PARTS.split(";\n"):
            if statement.strip():
                await inside.execute(statement)
        await inside.execute("VACUUM ANALYZE")


async def run(rows: int) -> bool:
    """Fill, measure, print; True when every query met the target."""
    with running() as postgres, tempfile.TemporaryDirectory() as folder:
        server = Server(postgres, make_settings(postgres, Path(folder)))
        await server.prepare()
        tenant = new_tenant("bench", limits={})
        await server.ensure(tenant)
        started = time.perf_counter()
        await fill(server, tenant.database, rows)
        print(f"{rows} addresses made in {time.perf_counter() - started:.0f} s", flush=True)
        async with server.inside(tenant.database) as inside:
            prepared = await inside.prepare("SELECT * FROM address ORDER BY id LIMIT 50")
            floor = await measured(postgres, prepared.fetch)
            numbers = await inside.prepare("SELECT count(*) FROM generate_series(1, $1::int)")
            counting = await measured(postgres, lambda: numbers.fetch(rows))
            print(
                f"floor: {rows} numbers counted: median {counting.median:.1f} ms, processor {counting.processor:.1f} ms"
            )
            deep = await inside.fetchrow("SELECT sort_key, id FROM address ORDER BY sort_key, id OFFSET $1", rows // 2)
        assert deep is not None
        async with running_world(server) as world:
            known = world.parts.directory.get(tenant.name)
            assert known is not None
            return await report(world, known, floor, Cursor(deep["sort_key"], deep["id"], backwards=False).encode())


async def report(world: World, tenant: Tenant, floor: Times, deep: str) -> bool:
    """Measure every query and print a line for each."""

    def page(who: Principal, query: Query) -> Call:
        async def call() -> object:
            async with world.parts.databases.transaction(tenant) as db:
                return await AddressBook(db, tenant, utc_now, timedelta(days=7), who, ACTOR).page(query)

        return call

    def count(tree: object) -> Call:
        async def call() -> object:
            async with world.parts.databases.transaction(tenant) as db:
                return await Segments(db, MASTER, ACTOR, utc_now).count(TREE.validate_python(tree))

        return call

    calls = {
        "list, page 1": page(MASTER, Query()),
        "list, page 1, newest first": page(MASTER, Query(order=Order.UPDATED)),
        "list, page 1, labels hidden": page(CLERK, Query()),
        "list, a page in the middle": page(MASTER, Query(cursor=deep)),
        "search, two characters (山田)": page(MASTER, Query("山田")),
        "search, one person": page(MASTER, Query("user777777@")),
        "tag of many (1 in 13)": page(MASTER, Query(tag="タグ2")),
        "tag of few": page(MASTER, Query(tag="タグ19")),
        "segment, exact count": count(SEGMENT),
        "segment, page": page(MASTER, Query(segment=tree_members(TREE.validate_python(SEGMENT)))),
        "wide segment, exact count": count(WIDE),
        "wide segment, page": page(MASTER, Query(segment=tree_members(TREE.validate_python(WIDE)))),
    }
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"floor: 50 rows by primary key through the driver: median {floor.median:.2f} ms")
    met = True
    for name, call in calls.items():
        took = await measured(world.server.postgres, call)
        met = met and took.median < TARGET_MS
        print(
            f"{name:32} median {took.median:8.1f} ms  p95 {took.late:8.1f} ms  processor {took.processor:8.1f} ms"
            f"  {took.median / floor.median:7.1f} x floor",
            flush=True,
        )
    print(f"target of {TARGET_MS} ms: {'met' if met else 'MISSED'}")
    return met


def main() -> None:
    """Exit 1 when the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    raise SystemExit(0 if asyncio.run(run(parser.parse_args().rows)) else 1)


if __name__ == "__main__":
    main()
