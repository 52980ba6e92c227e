"""Worker, relay and PostgreSQL are killed in the middle of a delivery: nobody is lost, nobody gets two mails."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from elink_app.settings import Settings
from elink_operator.database.model import TenantDb

from tests.support.ports import free_port
from tests.support.postgres import running
from tests.tenant_app.support import Server, eventually, make_settings, new_tenant
from tests.tenant_app.worker.deliveries import CountingRelay, counts, make_delivery, relaying, states

pytestmark = pytest.mark.postgres

CONNECTIONS = 6
PEOPLE = 1500


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL that may be killed."""
    with running() as postgres:
        server = Server(postgres, make_settings(postgres, tmp_path_factory.mktemp("elink")))
        asyncio.run(server.prepare())
        yield server


def environment(settings: Settings, files: Path, relay_port: int) -> dict[str, str]:
    """What a worker process of this server needs to know."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ELINK_DB_HOST": settings.db_host,
        "ELINK_DB_PORT": str(settings.db_port),
        "ELINK_DB_PASSWORD_FILE": str(settings.db_password_file),
        "ELINK_FILES_DIR": str(files),
        "ELINK_SMTP_HOST": "127.0.0.1",
        "ELINK_SMTP_PORT": str(relay_port),
        "ELINK_SMTP_CONNECTIONS": str(CONNECTIONS),
        "ELINK_TASK_LOOK_SECONDS": "0.5",
    }


@asynccontextmanager
async def worker(variables: dict[str, str]) -> AsyncIterator[Process]:
    """A worker process; killed at the end when it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tenant_app.worker.sender_process", env=variables, stdout=None
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def finished(server: Server, tenant: TenantDb, delivery: int, seconds: float = 180) -> None:
    """Wait until the delivery is done; the database may be away meanwhile."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with server.inside(tenant.database) as inside:
                    if (await counts(inside, delivery))["state"] == "done":
                        return
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass
            await asyncio.sleep(0.1)


async def begin(server: Server, people: int = PEOPLE) -> tuple[TenantDb, int]:
    tenant = new_tenant()
    await server.ensure(tenant)
    async with server.inside(tenant.database) as inside:
        return tenant, await make_delivery(inside, people)


async def accounted(server: Server, tenant: TenantDb, delivery: int, relay: CountingRelay) -> dict[str, int]:
    """States of the rows, after checking that they are what the relay knows."""
    async with server.inside(tenant.database) as inside:
        found = await states(inside, delivery)
        row = await counts(inside, delivery)
        accepted = {r[0] for r in await inside.fetch("SELECT email FROM delivery_recipient WHERE state = 'accepted'")}
        unknown = {r[0] for r in await inside.fetch("SELECT email FROM delivery_recipient WHERE state = 'unknown'")}
    assert set(relay.accepted.values()) == {1}, "nobody gets a mail twice"
    assert len(accepted) + len(unknown) == PEOPLE, "nobody is lost"
    assert accepted <= set(relay.accepted)
    assert set(relay.accepted) <= accepted | unknown
    assert (row["accepted"], row["unknown"]) == (found.get("accepted", 0), found.get("unknown", 0))
    return found


async def test_worker_killed_three_times(own_server: Server, tmp_path: Path) -> None:
    async with relaying(CountingRelay(delay=0.005)) as relay:
        tenant, delivery = await begin(own_server)
        variables = environment(own_server.settings, tmp_path, relay.port)
        for part in (0.2, 0.5, 0.8):
            async with worker(variables) as process:
                await eventually(lambda part=part: relay.accepted.total() >= part * PEOPLE, 120)
                process.send_signal(signal.SIGKILL)
                await process.wait()
        async with worker(variables) as process:
            await finished(own_server, tenant, delivery)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        found = await accounted(own_server, tenant, delivery, relay)
    assert found.get("unknown", 0) <= 3 * CONNECTIONS
    assert list((tmp_path / "journals").iterdir()) == []


async def test_another_worker_takes_over_from_a_killed_one(own_server: Server, tmp_path: Path) -> None:
    """Two workers share the folder of journals; one dies and never comes back."""
    async with relaying(CountingRelay(delay=0.005)) as relay:
        tenant, delivery = await begin(own_server)
        variables = environment(own_server.settings, tmp_path, relay.port)
        async with worker(variables) as survivor, worker(variables) as victim:
            await eventually(lambda: relay.accepted.total() >= PEOPLE / 2, 120)
            victim.send_signal(signal.SIGKILL)
            await finished(own_server, tenant, delivery)
            assert survivor.returncode is None
        found = await accounted(own_server, tenant, delivery, relay)
    assert found.get("unknown", 0) <= CONNECTIONS


async def test_postgres_killed_and_started_again(own_server: Server, tmp_path: Path) -> None:
    async with relaying(CountingRelay(delay=0.005)) as relay:
        tenant, delivery = await begin(own_server)
        async with worker(environment(own_server.settings, tmp_path, relay.port)):
            for part in (0.3, 0.6):
                await eventually(lambda part=part: relay.accepted.total() >= part * PEOPLE, 120)
                await asyncio.to_thread(own_server.postgres.stop, "immediate")
                assert await at_rest(relay) < PEOPLE, "nothing is sent that cannot be written down"
                # Not in another thread: the kernel would end the server with the thread that began it.
                own_server.postgres.start()
            await finished(own_server, tenant, delivery)
        found = await accounted(own_server, tenant, delivery, relay)
    assert found == {"accepted": PEOPLE}, "the worker lived: it knows what became of every mail"


async def at_rest(relay: CountingRelay) -> int:
    """How many mails the relay has taken, once none has come for a second."""
    before = -1
    while (now := relay.accepted.total()) != before:
        before = now
        await asyncio.sleep(1)
    return now


@asynccontextmanager
async def relay_process(port: int, log: Path) -> AsyncIterator[Process]:
    """The counting relay as a process that writes down every mail before it says so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tenant_app.worker.relay_process", str(port), str(log),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def test_relay_killed_and_started_again(own_server: Server, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "accepted"
    log.touch()
    seen = CountingRelay()

    def count() -> int:
        return len(log.read_text().splitlines())

    tenant, delivery = await begin(own_server)
    async with worker(environment(own_server.settings, tmp_path, port)):
        for part in (0.3, 0.6):
            async with relay_process(port, log) as relay:
                await eventually(lambda part=part: count() >= part * PEOPLE, 120)
                relay.send_signal(signal.SIGKILL)
                await relay.wait()
            await asyncio.sleep(0.5)
        async with relay_process(port, log):
            await finished(own_server, tenant, delivery)
    seen.accepted.update(log.read_text().splitlines())
    found = await accounted(own_server, tenant, delivery, seen)
    assert found.get("unknown", 0) <= 2 * CONNECTIONS
