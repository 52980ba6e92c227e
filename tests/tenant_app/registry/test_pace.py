"""Tokens of recipient domains in a real registry: one bucket per domain, whoever asks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from elink_app.registry.connection import RegistryAway, RegistryConnection
from elink_app.registry.pace import PaceTokens, domain_key

from tests.support.ports import free_port
from tests.tenant_app.support import Server

pytestmark = pytest.mark.postgres

# One mail a minute while the test lasts: nothing is refilled that would matter.
SLOW = 1


@asynccontextmanager
async def workers(server: Server, per_minute: int, count: int = 2) -> AsyncIterator[list[PaceTokens]]:
    """So many processes' views of the same registry."""
    registries = [RegistryConnection(server.settings) for _ in range(count)]
    try:
        yield [PaceTokens(registry, per_minute) for registry in registries]
    finally:
        for registry in registries:
            registry.close()


async def _age(server: Server, domain: str, seconds: float) -> None:
    async with server.inside(server.settings.registry_database) as registry:
        moved = "UPDATE domain_pace SET filled_at = filled_at - make_interval(secs => $2) WHERE domain = $1"
        assert await registry.execute(moved, domain_key(domain), seconds) == "UPDATE 1"


async def _row(server: Server, domain: str) -> dict[str, float] | None:
    async with server.inside(server.settings.registry_database) as registry:
        row = await registry.fetchrow("SELECT tokens FROM domain_pace WHERE domain = $1", domain_key(domain))
        return dict(row) if row is not None else None


def _domain() -> str:
    return f"{secrets.token_hex(4)}.example"


async def test_two_workers_share_one_bucket(server: Server) -> None:
    domain, other = _domain(), _domain()
    async with workers(server, 12) as (one, two):
        assert (await one.take({domain: 5}))[domain].mails == 1
        refused = (await two.take({domain: 5}))[domain]
        assert refused.mails == 0
        assert 4 < refused.next_after <= 5, "twelve a minute: one every five seconds"
        assert (await two.take({other: 1}))[other].mails == 1, "another domain does not wait"


async def test_who_asks_first_leaves_something_for_the_next(server: Server) -> None:
    domain = _domain()
    async with workers(server, 60) as (one, two):
        assert (await one.take({domain: 250}))[domain].mails == 3
        assert (await two.take({domain: 250}))[domain].mails >= 1


async def test_a_bucket_fills_with_time_up_to_five_seconds_worth(server: Server) -> None:
    domain = _domain()
    async with workers(server, 60, 1) as (only,):
        while (await only.take({domain: 250}))[domain].mails:
            pass
        await _age(server, domain, 2)
        assert (await only.take({domain: 250}))[domain].mails >= 1
        await _age(server, domain, 3600)
        assert (await only.take({domain: 250}))[domain].mails == 3, "half of five"


async def test_a_clock_that_was_set_back_gives_nothing(server: Server) -> None:
    domain = _domain()
    async with workers(server, SLOW, 1) as (only,):
        assert (await only.take({domain: 1}))[domain].mails == 1
        await _age(server, domain, -3600)
        assert (await only.take({domain: 1}))[domain].mails == 0


async def test_what_is_given_back_is_there_for_others_and_fills_no_bucket_over(server: Server) -> None:
    domain = _domain()
    async with workers(server, SLOW) as (one, two):
        assert (await one.take({domain: 1}))[domain].mails == 1
        await one.take({domain: -1})
        assert (await two.take({domain: 1}))[domain].mails == 1
        await one.take({domain: -100})
        assert (await two.take({domain: 100}))[domain].mails == 1, "one is what a bucket of this pace holds"
        assert (await two.take({domain: 100}))[domain].mails == 0


async def test_many_at_once_get_no_more_than_there_is_and_wait_for_no_one_in_a_ring(server: Server) -> None:
    domains = [_domain() for _ in range(40)]
    async with workers(server, SLOW, 6) as all_:
        asked = [one.take(dict.fromkeys(domains[:: -1 if n % 2 else 1], 3)) for n, one in enumerate(all_) for _ in "ab"]
        answers = await asyncio.gather(*asked)
    assert [sum(answer[domain].mails for answer in answers) for domain in domains] == [1] * 40


async def test_full_buckets_are_swept_others_stay(server: Server) -> None:
    old, new = _domain(), _domain()
    async with workers(server, SLOW, 1) as (only,):
        await only.take({old: 1, new: 1})
        await _age(server, old, 61)
        await only.sweep()
        assert await _row(server, old) is None
        assert await _row(server, new) == {"tokens": 0}
        assert (await only.take({old: 1}))[old].mails == 1, "no row, full bucket"


async def test_the_registry_knows_no_domain(server: Server) -> None:
    domain = _domain()
    async with workers(server, SLOW, 1) as (only,):
        await only.take({domain: 1})
    async with server.inside(server.settings.registry_database) as registry:
        rows = await registry.fetch("SELECT to_jsonb(p)::text FROM domain_pace p")
        assert rows
        assert not any(domain.partition(".")[0] in row[0] for row in rows)
        assert await registry.fetchval("SELECT relpersistence FROM pg_class WHERE relname = 'domain_pace'") == b"u"


async def test_a_registry_that_is_away_is_said(server: Server) -> None:
    registry = RegistryConnection(server.settings.model_copy(update={"db_port": free_port()}))
    with pytest.raises(RegistryAway):
        await PaceTokens(registry, SLOW).take({"x.example": 1})
