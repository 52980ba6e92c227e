"""Fixtures of the tenant application's tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from elink_app.telemetry.logs import configure_logs

from tests.support.postgres import Postgres, running
from tests.tenant_app.support import Server, World, make_settings, running_world


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """As in production: the development renderer prints local variables, and takes seconds to do so."""
    configure_logs("INFO", server="test", role="web", version="test")
    # The client of the tests says each request again, in as many words as the server does.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that these tests share with no others: its template is theirs."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """One prepared PostgreSQL for the whole run; tests make tenants of their own."""
    prepared = Server(postgres, make_settings(postgres, tmp_path_factory.mktemp("elink")))
    asyncio.run(prepared.prepare())
    return prepared


@pytest_asyncio.fixture
async def world(server: Server, tmp_path: Path) -> AsyncIterator[World]:
    """The application in front of the prepared server, with a files directory of this test."""
    own = Server(server.postgres, make_settings(server.postgres, tmp_path))
    async with running_world(own) as made:
        yield made


@pytest_asyncio.fixture
async def narrow_world(server: Server, tmp_path: Path) -> AsyncIterator[World]:
    """The same with one connection to each tenant's database: whatever needs a second one to go on gets 503."""
    settings = make_settings(server.postgres, tmp_path, db_pool_size=1, db_pool_timeout=10)
    async with running_world(Server(server.postgres, settings)) as made:
        yield made
