"""All that the bench measures against: API server, etcd, PostgreSQL (fsync on), stand-in, the operator process."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.disk import forget_deleted_files
from tests.bench.operator import standin
from tests.bench.operator.api import Api, connect
from tests.bench.operator.process import Usage, image_python
from tests.support import apiserver, postgres

ROOT = Path(__file__).resolve().parents[3]
SERVER = "bench"
TENANTS = "/apis/elink-lc.com/v1/elinktenants"
_METRICS_PORT = 19000
_REQUESTS = "rest_client_requests_total"


@dataclass(frozen=True)
class Scrape:
    """A page of metrics."""

    text: str

    def sum(self, name: str, **labels: str) -> float:
        """Sum of a metric over all series that have `labels`; 0 of an empty page."""
        total = 0.0
        for line in self.text.splitlines():
            found = re.match(r"(\w+)(?:\{(.*)\})? ([^ ]+)$", line)
            if found and found[1] == name and all(f'{k}="{v}"' in (found[2] or "") for k, v in labels.items()):
                total += float(found[3])
        return total


@dataclass
class World:
    """The parts of one run."""

    api: Api
    server: apiserver.ApiServer
    database: postgres.Postgres
    log: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def pg(self) -> dict[str, Any]:
        """How the operator's role reaches PostgreSQL (arguments of asyncpg.connect)."""
        return {"host": self.database.host, "port": self.database.port, "user": self.database.admin,
                "password": self.database.admin_password}  # fmt: skip

    async def start_operator(self) -> None:
        """Start the operator as a user would, without webhook and Lease (there is one process)."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "operator/src"),
            "ELINK_KUBECONFIG": str(self.server.kubeconfig),
            "ELINK_WEBHOOK_ENABLED": "false",
            "ELINK_LEADER_ELECTION": "false",
            "ELINK_METRICS_PORT": str(_METRICS_PORT),
            "ELINK_REGION_NODE_LABEL": "",
            "ELINK_SPARE_DATABASES": "4",
        }
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(image_python()), "-m", "elink_operator", "run", env=environ, stdout=log, stderr=log
            )

    async def stop_operator(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.process = None

    def usage(self) -> Usage:
        """The operator's CPU and memory so far."""
        assert self.process is not None
        assert self.process.returncode is None, f"the operator ended; see {self.log}"
        return Usage.of(self.process.pid)

    def scrape(self) -> Scrape:
        """The operator's metrics page, or nothing. It costs the operator some 30 ms for a thousand tenants."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{_METRICS_PORT}/metrics", timeout=5) as answer:
                return Scrape(answer.read().decode())
        except OSError:
            return Scrape("")

    def requests(self, *verbs: str) -> float:
        """Requests of the operator to the API server so far: all, or those of some verbs."""
        page = self.scrape()
        if not verbs:
            return page.sum(_REQUESTS)
        return sum(page.sum(_REQUESTS, verb=verb) for verb in verbs)

    def requests_for_tenants(self) -> float:
        """All of them but those about the lease and the server with its credentials, whose number depends on time."""
        others = ({"kind": "Lease"}, {"kind": "ElinkServer"}, {"kind": "Secret", "verb": "get"})
        page = self.scrape()
        return page.sum(_REQUESTS) - sum(page.sum(_REQUESTS, **labels) for labels in others)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A fresh world with one Ready Shared server; everything is gone after a run that ended well."""
    forget_deleted_files()
    folder = Path(tempfile.mkdtemp(prefix="elink-bench-"))
    with apiserver.running(folder / "api") as server, postgres.running(fsync=True) as database:
        server.install_crds()
        server.install_gateway()
        async with connect(server.url, str(server.ca), server.admin_token) as api:
            found = World(api, server, database, folder / "operator.log")
            environ = {
                "ELINK_DB_HOST": database.host,
                "ELINK_DB_PORT": str(database.port),
                "ELINK_DB_USER": "elink_app",
                "ELINK_DB_PASSWORD_FILE": str(folder / "app-password"),
                "ELINK_FILES_DIR": str(folder),
                "ELINK_SERVER_NAME": SERVER,
                "ELINK_VERSION": "bench",
            }
            (folder / "app-password").write_text(database.app_password)
            helper = asyncio.create_task(standin.serve(api, environ))
            try:
                preparing = asyncio.create_task(_prepare(found))
                await asyncio.wait({helper, preparing}, return_when=asyncio.FIRST_COMPLETED)
                if helper.done():
                    helper.result()
                await preparing
                yield found
            finally:
                helper.cancel()
                await found.stop_operator()
    # Of a run that failed the operator's log stays.
    shutil.rmtree(folder)


async def _prepare(world: World) -> None:
    await world.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "elink-system"}})
    access = {
        "host": world.database.host,
        "port": str(world.database.port),
        "username": world.database.admin,
        "password": world.database.admin_password,
        "app-password": world.database.app_password,
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in access.items()}
    await world.api.call(
        "POST", "/api/v1/namespaces/elink-system/secrets", {"metadata": {"name": "bench"}, "data": data}
    )
    await world.start_operator()
    await world.api.call(
        "POST",
        "/apis/elink-lc.com/v1/elinkservers",
        {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkServer",
            "metadata": {"name": SERVER},
            "spec": {
                "tenancy": "Shared",
                "maxTenants": 2000,
                "database": {"mode": "External", "secretRef": {"name": "bench"}},
            },
        },
    )
    for _ in range(60):
        server = await world.api.call("GET", f"/apis/elink-lc.com/v1/elinkservers/{SERVER}")
        conditions = {c["type"]: c for c in server.get("status", {}).get("conditions", [])}
        if conditions.get("DatabaseReady", {}).get("status") == "True" and is_ready(server):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"the server is not ready: {conditions}; see {world.log}")


def is_ready(obj: dict[str, Any]) -> bool:
    """Whether condition Ready is True for the present generation."""
    status = obj.get("status", {})
    return status.get("observedGeneration") == obj["metadata"]["generation"] and any(
        c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
    )


def tenant(name: str) -> dict[str, Any]:
    """A Shared tenant as a user applies it."""
    return {
        "apiVersion": "elink-lc.com/v1",
        "kind": "ElinkTenant",
        "metadata": {"name": name},
        "spec": {"plan": "Shared", "displayName": f"試験 {name}", "masterAccount": {"email": f"m@{name}.example"}},
    }
