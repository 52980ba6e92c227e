"""A server with tenants as the operator makes them, and the web application in front of it, for tests."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import asyncpg
import httpx
from elink_app.accounts import passwords
from elink_app.database.migrate import migrate_all, newest_revision
from elink_app.process import Parts, background, make_parts
from elink_app.process_web import make_web
from elink_app.settings import Settings
from elink_operator.database.databases import Databases
from elink_operator.database.model import ServerDb, TenantDb
from elink_operator.database.sessions import Limits
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.support.postgres import Postgres

PASSWORD = "いろはにほへと correct horse"
ORIGIN_HEADERS = {"Sec-Fetch-Site": "same-origin"}
_NUMBERS = itertools.count(1)
# A busy machine may take its time.
_LIMITS = Limits(statement_seconds=120, connect_seconds=60)
# The same algorithm for a thousandth of the work: nearly every test logs somebody in.
_QUICK_HASHER = PasswordHash((Argon2Hasher(memory_cost=64, time_cost=1, parallelism=1),))


@dataclass
class Server:
    """A PostgreSQL prepared by the operator's own code, with the app's migrations applied by `elink-app migrate`."""

    postgres: Postgres
    settings: Settings

    @property
    def target(self) -> ServerDb:
        return ServerDb(
            name="test",
            host=self.postgres.host,
            port=self.postgres.port,
            password=self.postgres.admin_password,
            app_password=self.postgres.app_password,
            backup_password=self.postgres.backup_password,
        )

    async def prepare(self) -> None:
        """Roles, registry, migrated template."""
        databases = Databases(_LIMITS)
        try:
            await databases.ensure_server(self.target)
            assert await migrate_all(self.settings) == 0
            await databases.mark_template(self.target, newest_revision())
        finally:
            await databases.close()

    async def ensure(self, tenant: TenantDb) -> None:
        """Make or change a tenant as the operator does."""
        databases = Databases(_LIMITS)
        try:
            await databases.ensure_tenant(self.target, tenant)
        finally:
            await databases.close()

    async def remove(self, tenant: TenantDb) -> None:
        databases = Databases(_LIMITS)
        try:
            assert (await databases.drop_tenant(self.target, tenant)).clean
        finally:
            await databases.close()

    @asynccontextmanager
    async def inside(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        """A superuser's look into a database."""
        connection = await self.postgres.connect(database)
        try:
            yield connection
        finally:
            await connection.close()


def make_settings(postgres: Postgres, folder: Path, **changes: object) -> Settings:
    """Settings that lead to this PostgreSQL."""
    password = folder / "app-password"
    password.write_text(postgres.app_password + "\n")
    values: dict[str, object] = {
        "db_host": postgres.host,
        "db_port": postgres.port,
        "db_password_file": password,
        "files_dir": folder / "files",
        "drain_seconds": 0,
        "listen_host": "127.0.0.1",
        # Nobody is told to try again later because the machine is busy.
        "db_pool_timeout": 60,
        "db_connect_timeout": 60,
        "db_lock_timeout": 60,
        "db_statement_timeout": 120,
        **changes,
    }
    return Settings(**values)


def new_tenant(prefix: str = "tenant", **changes: object) -> TenantDb:
    """A tenant nobody has yet; its set-up token is `setup_token(tenant)`."""
    name = f"{prefix}-{next(_NUMBERS)}-{secrets.token_hex(3)}"
    identifier = "t_" + name.replace("-", "_")
    tenant = TenantDb(
        name=name,
        uid=secrets.token_hex(8),
        database=identifier,
        role=identifier,
        password=secrets.token_hex(16),
        host=f"{name}.elink.localhost",
        directory=name,
        state="Active",
        state_reason="",
        display_name="株式会社さくら商店",
        language="ja",
        limits={"addresses": 1000},
        contacts={},
        mail={},
        master_email=f"master@{name}.example",
        setup_token_sha256=hashlib.sha256(setup_token(name).encode()).hexdigest(),
        setup_expires_at=datetime.now(tz=UTC) + timedelta(days=3),
    )
    return replace(tenant, **changes)


def setup_token(name: str) -> str:
    """The token in a tenant's set-up link."""
    return f"setup-{name}-0123456789abcdef"


class Browser:
    """An HTTPS client of one host that keeps cookies and reads tokens out of pages, as a person's browser does."""

    def __init__(self, client: httpx.AsyncClient, host: str) -> None:
        self.client = client
        self.host = host
        # By the session's cookie, to which it belongs: a page that stays open has it, too.
        self._tokens: dict[str, str] = {}

    async def get(self, path: str, **options: object) -> httpx.Response:
        return await self.client.get(path, **options)

    async def token(self, page: str = "/login") -> str:
        return read_token((await self.client.get(page)).text)

    async def post(
        self, path: str, data: dict[str, object] | None = None, *, page: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a form with the token of `page`; without one, that of the session."""
        token = await (self.token(page) if page else self.session_token() if self.cookie() else self.token())
        return await self.client.post(
            path, data={"csrf_token": token, **(data or {})}, headers={**ORIGIN_HEADERS, **headers}
        )

    async def session_token(self) -> str:
        """The token for forms and calls of this session; empty when the server knows of no session."""
        cookie = self.cookie()
        if cookie is None or cookie not in self._tokens:
            token = (await self.client.get("/api/v1/session")).json().get("csrf_token", "")
            if cookie is None or not token:
                return str(token)
            self._tokens[cookie] = token
        return self._tokens[cookie]

    def cookie(self, name: str = "__Host-elink-session") -> str | None:
        return next((cookie.value for cookie in self.client.cookies.jar if cookie.name == name), None)

    async def set_up(self, tenant: TenantDb, password: str = PASSWORD) -> httpx.Response:
        """Follow the set-up link."""
        token = setup_token(tenant.name)
        return await self.post(
            "/setup",
            {"token": token, "password": password, "password_repeated": password},
            page=f"/setup?token={token}",
        )

    async def log_in(self, tenant: TenantDb, password: str = PASSWORD, **headers: str) -> httpx.Response:
        page = "/login" if (await self.client.get("/login")).status_code == 200 else "/account"
        return await self.post("/login", {"email": tenant.master_email, "password": password}, page=page, **headers)

    async def api(self, method: str, path: str, *, token: str | None = None, **options: object) -> httpx.Response:
        """A call of the JSON API with everything that an unsafe call needs."""
        given = token or await self.session_token()
        headers = {**ORIGIN_HEADERS, "X-CSRF-Token": given, **options.pop("headers", {})}  # type: ignore[dict-item]
        return await self.client.request(method, path, headers=headers, **options)


def read_token(page: str) -> str:
    """The token in a page's first form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page[:2000]
    return found[1]


@dataclass
class World:
    """The application in this process, in front of a real server."""

    server: Server
    parts: Parts
    asgi: object
    stack: AsyncExitStack
    made: list[str] = field(default_factory=list)

    async def tenant(self, prefix: str = "tenant", **changes: object) -> TenantDb:
        """A new tenant that the application knows already."""
        tenant = new_tenant(prefix, **changes)
        self.made.append(tenant.name)
        await self.server.ensure(tenant)
        await self.knows(tenant)
        return tenant

    async def change(self, tenant: TenantDb, **changes: object) -> TenantDb:
        """Change a tenant's row as the operator does, and wait for the application to hear of it."""
        changed = replace(tenant, **changes)
        before = self.parts.directory.get(tenant.name)
        await self.server.ensure(changed)
        await eventually(lambda: self.parts.directory.get(tenant.name) != before)
        return changed

    async def knows(self, tenant: TenantDb) -> None:
        await eventually(lambda: self.parts.directory.get(tenant.name) is not None)

    def browser(self, host: str, address: str = "203.0.113.7", *, raise_errors: bool = False) -> Browser:
        """A new browser without cookies."""
        transport = httpx.ASGITransport(app=self.asgi, client=(address, 40000), raise_app_exceptions=raise_errors)
        client = httpx.AsyncClient(transport=transport, base_url=f"https://{host}", follow_redirects=False)
        self.stack.push_async_callback(client.aclose)
        return Browser(client, host)

    async def master(self, tenant: TenantDb) -> Browser:
        """A browser that is logged in as the master, by way of the set-up link."""
        browser = self.browser(tenant.host)
        answer = await browser.set_up(tenant)
        assert answer.status_code == 303, answer.text
        return browser


async def eventually(condition: object, timeout: float = 60.0) -> None:
    """Wait until `condition()` is true. The limit is for what never comes: a busy machine may take its time."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < deadline, "it did not become true in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running_world(server: Server) -> AsyncIterator[World]:
    """The application with its background work."""
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(passwords, "_HASHER", _QUICK_HASHER))
        parts = make_parts(server.settings)
        web = make_web(parts)
        await stack.enter_async_context(background(parts))
        await eventually(lambda: parts.directory.loaded)
        world = World(server, parts, web.asgi, stack)
        yield world
    # Work that goes over every tenant of the server shall not meet those of tests that are over; and a thousand
    # databases would fill the memory that they are in.
    async with server.inside(server.settings.registry_database) as registry:
        rows = await registry.fetch("DELETE FROM tenant WHERE name = ANY($1) RETURNING database", world.made)
        for row in rows:
            await registry.execute(f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')
