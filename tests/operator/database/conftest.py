"""A prepared server with a migrated template, and makers of tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from elink_operator.database import Databases, ServerDb, TenantDb
from elink_operator.naming import TEMPLATE_DATABASE, TEMPLATE_ROLE, short_id, tenant_database

from tests.support.postgres import Postgres, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here that uses the server is marked."""
    for item in items:
        if {"postgres", "own_postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="package")
def postgres() -> Iterator[Postgres]:
    """A server that these tests share with no others: its template is theirs."""
    with running() as server:
        yield server


def target(postgres: Postgres, name: str = "shared-1", **changes: Any) -> ServerDb:
    """How the operator reaches the test server."""
    values: dict[str, Any] = {
        "name": name,
        "host": postgres.host,
        "port": postgres.port,
        "password": postgres.admin_password,
        "app_password": postgres.app_password,
        "backup_password": postgres.backup_password,
    }
    return ServerDb(**{**values, **changes})


def tenant(name: str, **changes: Any) -> TenantDb:
    """A tenant with everything filled in."""
    values: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "database": tenant_database(name),
        "role": tenant_database(name),
        "password": "tenant-password",
        "host": f"{name}.elink.localhost",
        "directory": short_id(name),
        "state": "Active",
        "state_reason": "",
        "display_name": "株式会社あおぞら",
        "language": "ja",
        "limits": {"addresses": 1000, "mailsPerHour": 100, "storageBytes": 1 << 30},
        "contacts": {"emails": []},
        "mail": {},
        "master_email": "master@example.jp",
        "setup_token_sha256": "0" * 64,
        "setup_expires_at": None,
    }
    return TenantDb(**{**values, **changes})


async def migrate_template(postgres: Postgres) -> None:
    """What the migration Job does, in small: a table owned by the template's role."""
    connection = await postgres.connect(TEMPLATE_DATABASE, user="elink_app", password=postgres.app_password)
    try:
        await connection.execute(f"SET ROLE {TEMPLATE_ROLE}")
        await connection.execute("CREATE TABLE IF NOT EXISTS address (id bigserial PRIMARY KEY, name text NOT NULL)")
    finally:
        await connection.close()


@pytest.fixture
async def databases(postgres: Postgres) -> AsyncIterator[Databases]:
    """The operator's view of the shared test server, ready for tenants."""
    found = Databases()
    await found.ensure_server(target(postgres))
    await migrate_template(postgres)
    await found.mark_template(target(postgres), "r1")
    yield found
    await found.close()
