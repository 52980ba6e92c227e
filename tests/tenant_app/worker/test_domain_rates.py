"""The pace towards a domain: which wait in one process, and that two worker processes keep one limit together."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from elink_app.clock import utc_now
from elink_app.registry.connection import RegistryConnection
from elink_app.registry.pace import PaceTokens
from elink_app.worker.domain_rates import DomainRates

from tests.support.ports import free_port
from tests.tenant_app.support import Server, World, eventually
from tests.tenant_app.worker.deliveries import CountingRelay, counts, make_delivery, open_office, relaying, states
from tests.tenant_app.worker.test_kills import environment, worker

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture
async def registry(server: Server) -> AsyncIterator[RegistryConnection]:
    connection = RegistryConnection(server.settings)
    yield connection
    connection.close()


def _domain() -> str:
    return f"{secrets.token_hex(4)}.example"


async def test_a_domain_without_tokens_is_left_alone_by_whom_it_refused_only(registry: RegistryConnection) -> None:
    clock, slow, fast = [100.0], _domain(), _domain()
    rates = DomainRates(PaceTokens(registry, 120), lambda: clock[0])
    granted = await rates.take("sakura", [slow] * 20 + [fast] * 2)
    assert granted == {slow: 5, fast: 2}
    assert rates.held("sakura") == [slow]
    assert rates.held("ume") == []
    assert (await rates.take("ume", [slow]))[slow] == 1, "half was left for others"
    clock[0] += 2
    assert 0 < rates.wait("sakura") <= 0.5
    clock[0] += 1
    assert rates.held("sakura") == []
    assert rates.wait("sakura") == 0


async def test_a_domain_that_needs_a_minute_for_one_mail_is_left_alone_for_a_minute(
    registry: RegistryConnection,
) -> None:
    clock, slow = [100.0], _domain()
    rates = DomainRates(PaceTokens(registry, 1), lambda: clock[0])
    assert (await rates.take("sakura", [slow] * 2))[slow] == 1
    assert 59 < rates.wait("sakura") <= 60


async def test_without_a_limit_nothing_is_asked() -> None:
    rates = DomainRates(None)
    assert await rates.take("sakura", ["x", "x", "y"]) == {"x": 2, "y": 1}
    assert (rates.limited, rates.held("sakura"), rates.wait("sakura")) == (False, [], 0)


async def test_giving_back_without_a_registry_is_no_error(server: Server) -> None:
    away = RegistryConnection(server.settings.model_copy(update={"db_port": free_port()}))
    await DomainRates(PaceTokens(away, 60)).give_back({"x.example": 3})


async def test_tokens_of_mails_that_the_relay_did_not_take_are_given_back(world: World) -> None:
    domain = _domain()
    office = await open_office(world, CountingRelay(port=free_port()), domain_mails_per_minute=120)
    async with office.inside() as inside:
        delivery = await make_delivery(inside, 20, domain=domain)
        await office.send()
        assert await states(inside, delivery) == {"queued": 20}
    tokens = PaceTokens(world.parts.registry, 120)
    assert (await tokens.take({domain: 20}))[domain].mails == 5, "the bucket is as full as if nobody had asked"


async def test_an_exhausted_domain_does_not_stop_those_behind_it(world: World) -> None:
    """Two batches of one domain stand before the others in the queue."""
    domain = _domain()
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay, domain_mails_per_minute=12)
        async with office.inside() as inside:
            delivery = await make_delivery(inside, 500, domain=domain)
            await inside.execute(
                "INSERT INTO delivery_recipient (delivery_id, email, email_key, slots, next_at) "
                "SELECT $1, 'x@' || n || '.example', 'x@' || n || '.example', '[\"名\"]', now() "
                "FROM generate_series(1, 40) n",
                delivery,
            )
            await inside.execute("UPDATE delivery SET total = 540 WHERE id = $1", delivery)
            office.clock = lambda: utc_now() + timedelta(seconds=1)
            await office.send()
            row = await counts(inside, delivery)
    assert row["state"] == "sending"
    assert sum(1 for to in relay.accepted if not to.endswith("@" + domain)) == 40


async def test_two_worker_processes_keep_one_limit(world: World, tmp_path: Path) -> None:
    async with relaying(CountingRelay()) as relay:
        office = await open_office(world, relay)
        variables = environment(world.server.settings, tmp_path, relay.port) | {"ELINK_DOMAIN_MAILS_PER_MINUTE": "240"}
        journals = tmp_path / "journals"
        async with worker(variables), worker(variables), office.inside() as inside:
            await eventually(lambda: journals.is_dir() and len(list(journals.iterdir())) == 2)
            begun = time.monotonic()
            delivery = await make_delivery(inside, 400, domain=_domain())
            # A burst of twenty and four a second: two that count for themselves would send 40 at once.
            await eventually(lambda: relay.accepted.total() >= 28)
            sent, passed = relay.accepted.total(), time.monotonic() - begun
            assert sent <= 20 + 4 * passed + 1
            assert (await counts(inside, delivery))["state"] == "sending"
