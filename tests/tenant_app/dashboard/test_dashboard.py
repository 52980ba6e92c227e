"""The first page: limits used, deliveries with words for the share of failures, each for who may see it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from elink_app.dashboard.repository import DashboardRepository
from elink_app.dashboard.service import Health, LimitUsed
from elink_app.dashboard.storage import HOLDS, StorageMeter
from elink_app.deliveries.sending import Sending

from tests.tenant_app.people.support import member, one, run
from tests.tenant_app.support import World

NOON = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accepted", "failed", "percent", "verdict"),
    [
        (0, 0, None, "none"),
        (100, 0, 0.0, "good"),
        (98, 2, 2.0, "good"),
        (97, 3, 3.0, "doubtful"),
        (90, 10, 10.0, "bad"),
        (0, 3, 100.0, "bad"),
    ],
)
def test_words_for_the_share(accepted: int, failed: int, percent: float | None, verdict: str) -> None:
    health = Health(accepted, failed)
    assert (health.percent, health.verdict) == (percent, verdict)


@pytest.mark.postgres
async def test_deliveries_under_way_are_for_who_may_see_them(world: World) -> None:
    tenant = await world.tenant(limits={"addresses": 1000, "mailsPerHour": 12345})
    master = await world.master(tenant)
    assert "進行中の配信はありません。" in (await master.get("/")).text
    await run(
        world, tenant,
        "INSERT INTO delivery (name, state, total, accepted, refused, bounced, started_at) VALUES "
        "('<b>春の案内</b>', 'sending', 100, 40, 3, 2, now()), ('終わったもの', 'done', 5, 5, 0, 0, now()), "
        "('昔のもの', 'done', 900, 0, 900, 0, now() - interval '31 days')",
    )  # fmt: skip
    page = (await master.get("/")).text
    assert "&lt;b&gt;春の案内&lt;/b&gt;" in page
    assert "終わったもの" not in page
    assert '<progress max="100" value="45"' in page
    assert "10.0 % のメールが拒否または不達になりました（50 件中 5 件）" in page
    assert "12,345 通" in page
    # Of recipients whom a label hides, or of whom nobody knows which labels they bore, no number tells.
    await run(
        world, tenant,
        "WITH tag AS (INSERT INTO tag (name, key, is_label) VALUES ('極秘', '極秘', true) RETURNING id), "
        "person AS (INSERT INTO address (name, sort_key, search_text, search_grams) "
        "SELECT n, n, n, '{}' FROM unnest(ARRAY['公開', '秘密']) n RETURNING id, name), "
        "secret AS (INSERT INTO address_tag SELECT person.id, tag.id FROM person, tag WHERE name = '秘密') "
        "INSERT INTO delivery_recipient (delivery_id, address_id, email, email_key, state) "
        "SELECT delivery.id, p.id, p.name || s || '@x.jp', p.name || s || '@x.jp', s "
        "FROM delivery, (SELECT id, name FROM person UNION ALL SELECT 999999, '消去') p, "
        "unnest(ARRAY['accepted', 'bounced', 'queued']) s WHERE delivery.name <> '終わったもの'",
    )  # fmt: skip
    clerk, _, _ = await member(world, tenant, master, "addresses:view", "deliveries:draft")
    board = (await clerk.get("/api/v1/dashboard")).json()
    assert [(row["total"], row["ended"]) for row in board["under_way"]] == [(3, 2)]
    assert (board["health"]["accepted"], board["health"]["failed"]) == (1, 1)
    assert '<progress max="3" value="2"' in (await clerk.get("/")).text
    assert '<progress max="100" value="45"' in (await master.get("/")).text
    # However much was sent, no more is counted at a look than the newest deliveries of a bound, and one at least.
    await run(
        world, tenant,
        "INSERT INTO delivery (name, state, total, started_at) VALUES ('大きいもの', 'done', 900000, now());"
        "INSERT INTO delivery_recipient (delivery_id, address_id, email, email_key, state) "
        "SELECT (SELECT max(id) FROM delivery), id, 'x@x.jp', 'x@x.jp', 'accepted' FROM address WHERE name = '公開'",
    )  # fmt: skip
    health = (await clerk.get("/api/v1/dashboard")).json()["health"]
    assert (health["accepted"], health["failed"]) == (1, 0)
    await run(world, tenant, "UPDATE delivery SET started_at = now() - interval '1 hour' WHERE name = '大きいもの'")
    health = (await clerk.get("/api/v1/dashboard")).json()["health"]
    assert (health["accepted"], health["failed"]) == (1, 1)
    user, _, _ = await member(world, tenant, master, "addresses:view")
    hidden = (await user.get("/")).text
    assert "春の案内" not in hidden
    assert "健全性" not in hidden


@pytest.mark.parametrize(
    ("used", "limit", "percent", "verdict"),
    [
        (5, None, None, "unlimited"),
        (0, 10, 0, "good"),
        (799, 1000, 79, "good"),
        (800, 1000, 80, "near"),
        (999, 1000, 99, "near"),
        (1000, 1000, 100, "full"),
        (2000, 1000, 200, "full"),
        (0, 0, 100, "full"),
    ],
)
def test_a_limit_warns_from_80_percent(used: int, limit: int | None, percent: int | None, verdict: str) -> None:
    found = LimitUsed(used, limit)
    assert (found.percent, found.verdict) == (percent, verdict)


async def test_storage_is_measured_once_in_a_while() -> None:
    clock, calls = [NOON], 0

    async def measure() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return calls * 100

    meter = StorageMeter(lambda: clock[0])
    assert await asyncio.gather(*(meter.used("a", measure) for _ in range(5))) == [100] * 5
    assert await meter.used("b", measure) == 200
    clock[0] += HOLDS - timedelta(seconds=1)
    assert await meter.used("a", measure) == 100
    clock[0] += timedelta(seconds=1)
    assert await meter.used("a", measure) == 300


@pytest.mark.postgres
async def test_bars_and_the_same_by_the_api(world: World) -> None:
    limits = {"addresses": 5, "mailsPerHour": 100, "storageBytes": 20_000_000}
    tenant = await world.tenant(limits=limits)
    master = await world.master(tenant)
    folder = world.parts.settings.tenants_dir / tenant.directory / "imports"
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"x" * 5_000_000)
    for number in range(4):
        await master.api("POST", "/api/v1/addresses", json={"name": f"人{number}"})
    await run(
        world, tenant,
        "INSERT INTO mail_allowance (id, tokens, filled_at, hour, this_hour) "
        "VALUES (1, 0, now(), date_trunc('hour', now()), 100)",
    )  # fmt: skip
    found = (await master.get("/api/v1/dashboard")).json()
    assert found["addresses"] == {"used": 4, "limit": 5, "verdict": "near"}
    assert found["mails_last_hour"] == {"used": 100, "limit": 100, "verdict": "full"}
    size = await one(world, tenant, "SELECT pg_database_size(current_database())")
    assert abs(found["storage_bytes"]["used"] - size - 5_000_000) < 1_000_000
    assert found["storage_bytes"]["limit"] == 20_000_000
    assert [row["name"] for row in found["recent"]] == ["人3", "人2", "人1", "人0"]
    assert (found["under_way"], found["health"]["verdict"], found["notices"]) == ([], "none", 0)
    page = (await master.get("/")).text
    assert '<progress class="near" max="100" value="80"' in page
    assert '<progress class="full" max="100" value="100"' in page
    assert "プランの 80 % を使用しています。" in page
    clerk, _, _ = await member(world, tenant, master, "addresses:view")
    seen = (await clerk.get("/api/v1/dashboard")).json()
    assert seen["addresses"]["used"] == 4
    assert {seen[name] for name in ("storage_bytes", "mails_last_hour", "under_way", "health")} == {None}
    assert "容量" not in (await clerk.get("/")).text
    nobody, _, _ = await member(world, tenant, master)
    nothing = (await nobody.get("/api/v1/dashboard")).json()
    assert {name for name, value in nothing.items() if value is not None} == {"notices"}


@pytest.mark.postgres
async def test_mails_are_counted_over_the_last_hour(world: World) -> None:
    tenant = world.parts.directory.get((await world.tenant()).name)
    assert tenant is not None
    counts = []
    async with world.parts.databases.transaction(tenant) as db:
        sending, rows = Sending(db), DashboardRepository(db)
        for minutes, wanted, back in ((0, 100, 40), (30, 20, 0), (60, 1, 0), (90, 0, 0), (150, 0, 0), (300, 0, 0)):
            now = NOON + timedelta(minutes=minutes)
            if wanted:
                assert await sending.take_allowance(wanted, 1200, now) == wanted
                await sending.give_allowance(back)
            db.expire_all()
            counts.append(await rows.mails_last_hour(now))
    # 60 + 20; then one more while the hour before slips out of the last sixty minutes.
    assert counts == [60, 80, 81, 41, 0, 0]
