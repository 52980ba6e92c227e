"""The chain: complete, in order, and no change of it stays unseen."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from elink_app.audit.chain import plain
from elink_app.audit.service import SYSTEM, Actor, record, verify
from elink_app.registry.tenant import Tenant

from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 4, 1, 0, 0, 0, 123456, tzinfo=UTC)
AYA = Actor(7, "aya@example.jp", "203.0.113.7")


async def known(world: World) -> Tenant:
    tenant = world.parts.directory.get((await world.tenant()).name)
    assert tenant is not None
    return tenant


async def write(world: World, tenant: Tenant, number: int, actor: Actor = AYA, **fields: Any) -> None:
    async with world.parts.databases.transaction(tenant) as db:
        await record(db, actor, "address.update", kind="address", key=str(number), now=NOW, **fields)


async def check(world: World, tenant: Tenant) -> tuple[int, int | None]:
    async with world.parts.databases.transaction(tenant) as db:
        verdict = await verify(db)
    return verdict.lines, verdict.broken_at


async def test_every_kind_of_value_comes_back_as_it_was_hashed(world: World) -> None:
    tenant = await known(world)
    assert await check(world, tenant) == (0, None)
    values = {
        "氏名": "髙﨑\0🎌",
        "n": 2**60,
        "rate": 0.1,
        "d": Decimal("1.50"),
        "on": NOW,
        "tags": {"b", "a"},
        "x": None,
    }
    await write(world, tenant, 1, before=values, after={"nested": {"z": [1, True, {"k": ""}], "a": "x" * 5000}})
    await write(world, tenant, 2, SYSTEM)
    assert await check(world, tenant) == (2, None)


async def test_writers_at_once_make_one_chain(world: World) -> None:
    tenant = await known(world)
    await asyncio.gather(*(write(world, tenant, n) for n in range(20)))
    assert await check(world, tenant) == (20, None)


async def test_a_refused_transaction_leaves_no_line(world: World) -> None:
    tenant = await known(world)

    async def refused() -> None:
        async with world.parts.databases.transaction(tenant) as db:
            await record(db, AYA, "address.delete", now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await refused()
    assert await check(world, tenant) == (0, None)


@pytest.mark.parametrize(
    ("harm", "broken"),
    [
        ("UPDATE audit_entry SET actor = 'somebody@else.example' WHERE number = 2", 2),
        ("UPDATE audit_entry SET at = at + interval '1 microsecond' WHERE number = 2", 2),
        ("""UPDATE audit_entry SET after = '{"a": 2}' WHERE number = 2""", 2),
        ("UPDATE audit_entry SET after = NULL WHERE number = 2", 2),
        ("DELETE FROM audit_entry WHERE number = 2", 2),
        ("DELETE FROM audit_entry WHERE number = 3", 3),
        ("DELETE FROM audit_entry", 1),
        ("UPDATE audit_entry SET number = 9 WHERE number = 3", 9),
        ("UPDATE audit_head SET number = 2", 3),
        ("UPDATE audit_head SET hash = decode(repeat('00', 32), 'hex')", 4),
    ],
)
async def test_every_change_is_found(world: World, harm: str, broken: int) -> None:
    tenant = await known(world)
    for number in range(3):
        await write(world, tenant, number, after={"a": 1})
    assert await check(world, tenant) == (3, None)
    async with world.server.inside(tenant.database) as inside:
        await inside.execute(harm)
    assert (await check(world, tenant))[1] == broken


@pytest.mark.parametrize("key", ["password", "newPassword", "csrf_token", "client_secret", "text_body", "Cookie"])
async def test_secrets_are_refused(world: World, key: str) -> None:
    tenant = await known(world)
    with pytest.raises(ValueError, match="must not be written"):
        await write(world, tenant, 1, after={key: "x"})


def test_values_without_a_form_are_refused() -> None:
    with pytest.raises(TypeError):
        plain(object())
