"""Notices: rows as the operator writes them, seen until read, receipts kept and audited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from elink_app.registry.connection import RegistryAway
from elink_app.registry.notices import NoticeReader
from elink_operator.database.model import TenantDb

from tests.tenant_app.people.support import actions, member
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres
HOSTILE = "<script>alert(1)</script>{{ 7*7 }}\"'><img src=x onerror=alert(2)>"


async def publish(world: World, tenant: TenantDb, notice_id: str = "n1", **changes: object) -> None:
    """Write a row of `notice` as the operator does."""
    values: dict[str, object] = {
        "tenant": tenant.name, "id": notice_id, "type": "Change", "severity": "Info",
        "title_ja": "画面が変わります", "title_en": "Pages change", "body_ja": "本文です。", "body_en": "The text.",
        **changes,
    }  # fmt: skip
    slots = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    async with world.server.inside(world.server.settings.registry_database) as registry:
        await registry.execute(f"INSERT INTO notice ({', '.join(values)}) VALUES ({slots})", *values.values())


async def test_shown_until_read_by_each_user(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user, _, email = await member(world, tenant, master)
    await publish(world, tenant)
    assert "画面が変わります" in (await user.get("/")).text
    answer = await user.post("/notices/n1", {"from": "dashboard"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "画面が変わります" not in (await user.get("/")).text
    assert "画面が変わります" in (await user.get("/notices")).text
    assert "画面が変わります" in (await master.get("/")).text
    receipts = (await master.get("/api/v1/notices/n1/receipts")).json()
    assert [(one["actor"], one["kind"]) for one in receipts] == [(email, "read")]
    assert email in (await master.get("/notices/n1")).text
    assert (await actions(world, tenant))[-1] == "notice.read"


async def test_an_incident_is_acknowledged_once(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await publish(world, tenant)
    await publish(world, tenant, "n2", type="Incident", title_ja="障害です", detected_at=datetime.now(tz=UTC))
    page = (await master.get("/")).text
    assert page.index("障害です") < page.index("画面が変わります")
    assert "この障害を確認しました" in page
    first = (await master.api("POST", "/api/v1/notices/n2/receipt")).json()["receipt"]
    again = (await master.api("POST", "/api/v1/notices/n2/receipt")).json()["receipt"]
    assert first == again
    assert first["kind"] == "acknowledged"
    assert (await actions(world, tenant)).count("notice.acknowledge") == 1
    unseen = (await master.get("/api/v1/notices", params={"unseen": "true"})).json()
    assert [one["id"] for one in unseen] == ["n1"]
    assert "障害です" not in (await master.get("/")).text


async def test_who_has_seen_it_is_for_readers_of_the_audit_log(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user, _, _ = await member(world, tenant, master, "addresses:view")
    await publish(world, tenant)
    await master.post("/notices/n1")
    assert (await user.get("/api/v1/notices/n1/receipts")).status_code == 403
    assert tenant.master_email not in (await user.get("/notices/n1")).text
    assert tenant.master_email not in (await user.get("/api/v1/notices/n1")).text
    stranger = world.browser(tenant.host)
    assert (await stranger.get("/api/v1/notices")).status_code == 401
    assert (await stranger.get("/notices")).status_code == 303


async def test_not_of_another_tenant_not_before_its_time_and_not_withdrawn(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    master = await world.master(tenant)
    now = datetime.now(tz=UTC)
    await publish(world, other, "theirs", title_ja="よその知らせ")
    await publish(world, tenant, "later", title_ja="これから", published_at=now + timedelta(days=1))
    await publish(world, tenant, "gone", title_ja="取り下げたもの", withdrawn_at=now)
    assert [one["id"] for one in (await master.get("/api/v1/notices")).json()] == ["gone"]
    dashboard = (await master.get("/")).text
    for title in ("よその知らせ", "これから", "取り下げたもの"):
        assert title not in dashboard
    for strange in ("theirs", "later", "nothing"):
        assert (await master.get(f"/notices/{strange}")).status_code == 404
        assert (await master.api("POST", f"/api/v1/notices/{strange}/receipt")).status_code == 404
    assert (await master.post("/notices/theirs")).status_code == 404
    assert (await master.get("/notices/..%2F..")).status_code == 404
    assert (await master.get("/notices/" + "a" * 101)).status_code == 404
    assert "notice.read" not in await actions(world, tenant)


async def test_texts_are_texts(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await publish(world, tenant, title_ja=HOSTILE, body_ja=HOSTILE, title_en=HOSTILE, body_en=HOSTILE)
    for path in ("/", "/notices", "/notices/n1"):
        page = (await master.get(path)).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "{{ 7*7 }}" in page


async def test_the_other_language_when_one_is_empty(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await publish(world, tenant, title_ja="", body_ja="")
    assert "Pages change" in (await master.get("/")).text
    await publish(world, tenant, "n2", title_en="", body_en="")
    master.client.cookies.set("__Host-elink-language", "en")
    page = (await master.get("/")).text
    assert "画面が変わります" in page
    assert "Mark as read" in page


async def test_the_app_may_only_read_them(world: World) -> None:
    tenant = await world.tenant()
    await publish(world, tenant)
    postgres = world.server.postgres
    connection = await asyncpg.connect(
        host=postgres.host, port=postgres.port, user="elink_app", password=postgres.app_password,
        database=world.server.settings.registry_database,
    )  # fmt: skip
    try:
        assert await connection.fetchval("SELECT count(*) FROM notice WHERE tenant = $1", tenant.name) == 1
        for statement in ("DELETE FROM notice", "UPDATE notice SET title_ja = 'x'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_without_the_registry_the_dashboard_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)

    async def away(*_arguments: object) -> None:
        raise RegistryAway

    monkeypatch.setattr(NoticeReader, "of", away)
    page = await master.get("/")
    assert page.status_code == 200
    assert "現在、お知らせを表示できません。" in page.text
    assert (await master.get("/api/v1/notices")).status_code == 503
