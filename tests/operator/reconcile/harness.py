"""The operator's engine and reconcilers in this process, against the real API server (through the fault proxy)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import ClusterError
from elink_operator.cluster.kinds import OURS, Kind
from elink_operator.database import Databases
from elink_operator.database.sessions import Limits
from elink_operator.engine import Engine, utc_now
from elink_operator.objectstore import connect
from elink_operator.reconcile import reconcile_restore, reconcile_server, reconcile_tenant
from elink_operator.reconcile.context import Context
from elink_operator.relay import Relay
from elink_operator.settings import Settings
from elink_operator.triggers import KEY_KINDS

from tests.support.apiserver import ApiServer
from tests.support.faultproxy import FaultProxy
from tests.support.postgres import Postgres
from tests.support.standin import Standin

SYSTEM = "elink-system"
Obj = dict[str, Any]


class ScriptedProber:
    """Answers what the test says: a prober's own behaviour is tested with packets elsewhere."""

    def __init__(self) -> None:
        self.answer: bool | None = False
        self.asked: list[tuple[str, int]] = []

    async def reachable(self, host: str, port: int) -> bool | None:
        self.asked.append((host, port))
        return self.answer


class Clock:
    """The present, which a test may move forward, or stop."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.stopped_at: datetime | None = None

    def __call__(self) -> datetime:
        return self.stopped_at or utc_now() + self.offset


def settings_for_tests(**changes: Any) -> Settings:
    """Quick retries, no leader election, no webhook, no drill that comes due when a test moves the clock."""
    values: dict[str, Any] = {
        "leader_election": False,
        "webhook_enabled": False,
        "retry_base_seconds": 0.05,
        "retry_max_seconds": 1,
        "breaker_seconds": 1,
        "breaker_failures": 5,
        "spare_databases": 0,
        "drill_days": 0,
        "metrics_port": 0,
        "region_node_label": "",
    }
    return Settings(**{**values, **changes})


@dataclass
class Operator:
    """A running operator. `ctx` is what its reconcilers work with."""

    engine: Engine
    ctx: Context
    prober: ScriptedProber
    clock: Clock
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def settle(self, quiet: float = 0.6, timeout: float = 240) -> None:
        """Wait until nothing has been queued or running for `quiet` seconds."""
        deadline = time.monotonic() + timeout
        since = time.monotonic()
        while time.monotonic() - since < quiet:
            if not self.engine.queue.idle():
                since = time.monotonic()
            assert time.monotonic() < deadline, "the operator does not come to rest"
            await asyncio.sleep(0.02)

    async def look_at_everything(self) -> None:
        """What a resync does, at once."""
        for kind in OURS:
            for name in self.engine.store.names(kind):
                self.ctx.wake(KEY_KINDS[kind], name)
        await self.settle()


async def follow(engine: Engine, kind: Kind) -> None:
    """What kopf does for the operator: LIST and WATCH of our own kinds, again after each break."""
    while True:
        try:
            items, version = await engine.client.list(kind)
            for obj in items:
                engine.triggers.received(kind, obj, deleted=False)
            watch = engine.client.watch(kind, version=version, label_selector=None, timeout=300, silence=150)
            async for event in watch:
                if event["type"] in {"ADDED", "MODIFIED", "DELETED"}:
                    engine.triggers.received(kind, event["object"], deleted=event["type"] == "DELETED")
        except ClusterError:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def operator(url: str, token: str, relay: Relay | None = None, **changes: Any) -> AsyncIterator[Operator]:
    """A complete operator without kopf; everything is cancelled at the end, whatever it is doing."""
    settings = settings_for_tests(**changes)
    engine = Engine.create(settings, Connection(url, None, lambda: token))
    databases = Databases(Limits.of(settings))
    prober, clock = ScriptedProber(), Clock()
    objects = connect(settings, utc_now)
    ctx = Context(
        settings=settings,
        client=engine.client,
        store=engine.store,
        applier=engine.applier,
        databases=databases,
        prober=prober,
        metrics=engine.metrics,
        world=engine.world,
        clock=clock,
        random_token=secrets.token_urlsafe,
        wake=engine.wake,
        relay=relay or Relay("127.0.0.1", 9),
        objects=objects,
    )
    controller = engine.controller(
        {
            "tenant": partial(reconcile_tenant, ctx=ctx),
            "server": partial(reconcile_server, ctx=ctx),
            "restore": partial(reconcile_restore, ctx=ctx),
        }
    )
    made = Operator(engine, ctx, prober, clock)
    made.tasks = [
        *(asyncio.create_task(work, name=name) for name, work in engine.background().items()),
        *(asyncio.create_task(follow(engine, kind)) for kind in OURS),
        asyncio.create_task(engine.lead(controller), name="leader"),
    ]
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await databases.close()
        if objects is not None:
            await objects.close()
        await engine.close()


@dataclass
class World:
    """The surroundings of a test: API server, proxy, PostgreSQL, stand-in; and short ways to use them."""

    api: ApiServer
    proxy: FaultProxy
    postgres: Postgres
    standin: Standin
    more: list[Postgres] = field(default_factory=list)
    """One PostgreSQL per server that a test makes, in order."""

    def operator(self, **changes: Any) -> Any:
        """`async with world.operator() as op`"""
        return operator(self.proxy.url, self.api.admin_token, **changes)

    def unique(self, stem: str) -> str:
        """A name that no other test uses."""
        return f"{stem}-{secrets.token_hex(3)}"

    # -- writing -----------------------------------------------------------------------------------------

    def apply(self, kind: str, name: str, spec: Obj, **metadata: Any) -> None:
        """Create or change an elink resource as a user does."""
        body = {
            "apiVersion": "elink-lc.com/v1",
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        plural = f"{kind.lower()}s"
        path = f"/apis/elink-lc.com/v1/{plural}/{name}?fieldManager=user&force=true"
        code, answer = self.patch(path, body, "application/apply-patch+yaml")
        assert code in (200, 201), answer

    def server(self, name: str, **spec: Any) -> None:
        """A Shared server on the test's PostgreSQL."""
        database = {"mode": "External", "secretRef": {"name": f"{name}-database"}}
        made = self.items("/apis/elink-lc.com/v1/elinkservers")
        others = [o for o in made if o["metadata"]["name"] != name]
        postgres = self.more[len(others)] if others else self.postgres
        self.secret(f"{name}-database", port=str(postgres.port))
        self.apply("ElinkServer", name, {"tenancy": "Shared", "database": database, **spec})

    def secret(self, name: str, **changes: str) -> None:
        """Access to the test's PostgreSQL, as the platform team writes it."""
        values = {
            "host": self.postgres.host,
            "port": str(self.postgres.port),
            "username": self.postgres.admin,
            "password": self.postgres.admin_password,
            "app-password": self.postgres.app_password,
            **changes,
        }
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        path = f"/api/v1/namespaces/{SYSTEM}/secrets/{name}?fieldManager=user&force=true"
        code, answer = self.patch(path, body, "application/apply-patch+yaml")
        assert code in (200, 201), answer

    def tenant(self, name: str, **spec: Any) -> None:
        """A Shared tenant unless `plan` says otherwise."""
        wanted = {"plan": "Shared", "displayName": "株式会社あおぞら", "masterAccount": {"email": "kanri@example.jp"}}
        self.apply("ElinkTenant", name, {**wanted, **spec})

    def change(self, kind: str, name: str, patch: Obj) -> None:
        """Merge-patch an elink resource."""
        plural = f"{kind.lower()}s"
        code, answer = self.patch(f"/apis/elink-lc.com/v1/{plural}/{name}", patch, "application/merge-patch+json")
        assert code == 200, answer

    def patch(self, path: str, body: Obj, content_type: str) -> tuple[int, bytes]:
        """One PATCH past the proxy."""
        return self.api.request("PATCH", path, body, content_type=content_type)

    def delete(self, path: str) -> None:
        """Delete an object past the proxy."""
        code, answer = self.api.request("DELETE", path)
        assert code in (200, 202, 404), answer

    # -- reading -----------------------------------------------------------------------------------------

    def get(self, path: str) -> Obj | None:
        """An object past the proxy, or None."""
        code, answer = self.api.request("GET", path)
        if code == 404:
            return None
        assert code == 200, answer
        found: Obj = json.loads(answer)
        return found

    def items(self, path: str) -> list[Obj]:
        """A collection past the proxy."""
        found = self.get(path)
        assert found is not None
        items: list[Obj] = found["items"]
        return items

    def et(self, name: str) -> Obj | None:
        """A tenant."""
        return self.get(f"/apis/elink-lc.com/v1/elinktenants/{name}")

    def er(self, name: str) -> Obj | None:
        """A restore."""
        return self.get(f"/apis/elink-lc.com/v1/elinkrestores/{name}")

    def restore(self, name: str, tenant: str, mode: str, *, confirmed: bool = True, **spec: Any) -> None:
        """A restore as the platform team writes it."""
        marks = {"elink-lc.com/confirm-restore": tenant} if mode == "InPlace" and confirmed else {}
        self.apply("ElinkRestore", name, {"tenant": tenant, "mode": mode, **spec}, annotations=marks)

    def es(self, name: str) -> Obj | None:
        """A server."""
        return self.get(f"/apis/elink-lc.com/v1/elinkservers/{name}")

    def print_state(self) -> None:
        """Statuses and the stand-in's troubles; pytest shows them when the test failed."""
        for plural in ("elinkservers", "elinktenants", "elinkrestores"):
            for obj in self.items(f"/apis/elink-lc.com/v1/{plural}"):
                print(plural, obj["metadata"]["name"], json.dumps(obj.get("status"), ensure_ascii=False, indent=1))
        print("stand-in:", self.standin.ran, self.standin.errors[-10:])

    async def sql(self, database: str, statement: str, *arguments: Any) -> list[Any]:
        """Rows as the superuser."""
        connection = await self.postgres.connect(database)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()


def condition(obj: Obj | None, type_: str) -> Obj:
    """A condition of an object; empty when there is none."""
    listed = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in listed if c["type"] == type_), {})


def is_ready(obj: Obj | None) -> bool:
    """Ready, and for the present generation."""
    if obj is None or condition(obj, "Ready").get("status") != "True":
        return False
    return bool(obj["status"].get("observedGeneration") == obj["metadata"]["generation"])


async def until(check: Callable[[], Any], *, timeout: float = 240, what: str = "") -> Any:
    """Wait until `check()` is true (or returns an awaitable that is); its last value.

    The limit is for what never comes: a busy machine may take its time.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or check}"
        await asyncio.sleep(0.1)
