"""One small pool per tenant, the least recently used closed first, all together within one limit."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import structlog
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from elink_app.database.connect import WrongConnection, open_connection
from elink_app.database.errors import NoConnectionLeft
from elink_app.registry.tenant import Tenant
from elink_app.settings import Settings
from elink_app.telemetry.metrics import Metrics

_RECYCLE_SECONDS = 1800
# A connection that was used so lately is not asked whether it is alive; that it was closed is known without asking.
_TRUSTED_SECONDS = 1.0

log = structlog.get_logger("database")


def _identity(tenant: Tenant) -> tuple[str, str, str]:
    return (tenant.uid, tenant.database, tenant.role)


@dataclass(eq=False)
class _Pool:
    tenant: Tenant
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    in_use: int = 0
    retired: bool = False
    used_at: float = field(default_factory=time.monotonic)


class TenantDatabases:
    """Gives transactions in tenants' databases. Nothing but a Tenant of the registry can name a database."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pools: OrderedDict[str, _Pool] = OrderedDict()
        self._open = 0
        self._freed = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        metrics.db_connection_limit.set(settings.db_max_connections)
        metrics.db_connections.labels("in_use").set_function(self._in_use)
        metrics.db_connections.labels("idle").set_function(lambda: max(0, self._open - self._in_use()))
        metrics.db_engines.set_function(lambda: len(self._pools))

    @property
    def open_connections(self) -> int:
        """How many connections to tenants' databases are open now."""
        return self._open

    @asynccontextmanager
    async def transaction(self, tenant: Tenant) -> AsyncIterator[AsyncSession]:
        """A session in one transaction: committed at the end, rolled back on any exception."""
        pool = self._pool(tenant)
        pool.in_use += 1
        try:
            async with pool.sessions.begin() as session:
                yield session
        finally:
            pool.in_use -= 1
            pool.used_at = time.monotonic()
            self._freed.set()
            if pool.retired and pool.in_use == 0:
                await pool.engine.dispose()

    def tenant_changed(self, old: Tenant | None, new: Tenant | None) -> None:
        """Close the pool of a tenant that is gone, or whose database, role or identity is another now."""
        if old is None:
            return
        pool = self._pools.get(old.name)
        if pool is not None and (new is None or _identity(new) != _identity(pool.tenant)):
            self._retire_later(pool)

    async def close_idle(self) -> None:
        """Close pools that nobody used for a while."""
        limit = time.monotonic() - self._settings.db_idle_engine_seconds
        for pool in list(self._pools.values()):
            if pool.in_use == 0 and pool.used_at < limit:
                await self._retire(pool)

    async def close(self) -> None:
        """Close everything; used at shutdown, after the last request."""
        for pool in list(self._pools.values()):
            await self._retire(pool)
        if self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _pool(self, tenant: Tenant) -> _Pool:
        pool = self._pools.get(tenant.name)
        if pool is not None and _identity(pool.tenant) != _identity(tenant):
            self._retire_later(pool)
            pool = None
        if pool is None:
            pool = self._pools[tenant.name] = self._new_pool(tenant)
        self._pools.move_to_end(tenant.name)
        return pool

    def _new_pool(self, tenant: Tenant) -> _Pool:
        async def connect(*_args: Any, **_kwargs: Any) -> asyncpg.Connection[asyncpg.Record]:
            return await self._connect(tenant)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=self._settings.db_pool_size,
            max_overflow=0,
            pool_timeout=self._settings.db_pool_timeout,
            pool_recycle=_RECYCLE_SECONDS,
            hide_parameters=True,
        )
        _ping_after_rest(engine)
        self._time_queries(engine)
        return _Pool(tenant, engine, async_sessionmaker(engine, expire_on_commit=False))

    async def _connect(self, tenant: Tenant) -> asyncpg.Connection[asyncpg.Record]:
        await self._make_room()
        self._open += 1
        try:
            connection = await open_connection(self._settings, tenant.database, role=tenant.role)
        except BaseException as error:
            self._open -= 1
            reason = "check" if isinstance(error, WrongConnection) else "failure"
            self._metrics.db_refused.labels(reason).inc()
            raise
        connection.add_termination_listener(self._closed)
        return connection

    def _closed(self, _connection: object) -> None:
        self._open -= 1
        self._freed.set()

    async def _make_room(self) -> None:
        deadline = time.monotonic() + self._settings.db_pool_timeout
        while self._open >= self._settings.db_max_connections:
            idle = next((pool for pool in self._pools.values() if pool.in_use == 0), None)
            if idle is not None:
                await self._retire(idle)
                # The driver tells of closed connections in the loop's next turn.
                await asyncio.sleep(0)
                continue
            self._freed.clear()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._freed.wait()
            except TimeoutError:
                self._metrics.db_refused.labels("limit").inc()
                raise NoConnectionLeft from None

    async def _retire(self, pool: _Pool) -> None:
        """Take the pool out of use before it is closed: nobody can be handed a connection of it any more."""
        pool.retired = True
        if self._pools.get(pool.tenant.name) is pool:
            del self._pools[pool.tenant.name]
        if pool.in_use == 0:
            await pool.engine.dispose()

    def _retire_later(self, pool: _Pool) -> None:
        self._pools.pop(pool.tenant.name, None)
        task = asyncio.get_running_loop().create_task(self._retire(pool))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _in_use(self) -> int:
        return sum(pool.in_use for pool in self._pools.values())

    def _time_queries(self, engine: AsyncEngine) -> None:
        observe = self._metrics.db_queries.observe

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def before(_connection: Any, _cursor: Any, _sql: Any, _values: Any, context: Any, _many: Any) -> None:
            context.elink_started = time.perf_counter()

        @event.listens_for(engine.sync_engine, "after_cursor_execute")
        def after(_connection: Any, _cursor: Any, _sql: Any, _values: Any, context: Any, _many: Any) -> None:
            observe(time.perf_counter() - context.elink_started)


def _ping_after_rest(engine: AsyncEngine) -> None:
    """What `pool_pre_ping` does, without a round trip in each of many transactions in a row."""

    @event.listens_for(engine.sync_engine, "checkin")
    def checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def checkout(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        rested = time.monotonic() - record.info.get("rests_since", time.monotonic())
        if connection.driver_connection.is_closed():
            raise DisconnectionError
        if rested > _TRUSTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise DisconnectionError from error
