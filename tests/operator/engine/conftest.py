"""Replicas of the stub operator as processes of their own, before a real API server."""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServer
from tests.support.faultproxy import FaultProxy
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
STUB = Path(__file__).with_name("stub_operator.py")
LONG_LEASE = {"LEASE_DURATION_SECONDS": "60", "LEASE_RENEW_DEADLINE_SECONDS": "50"}
"""A busy machine keeps it; for all tests in which nobody has to lose it."""
SHORT_LEASE = {"LEASE_DURATION_SECONDS": "8", "LEASE_RENEW_DEADLINE_SECONDS": "7"}


@dataclass
class Replica:
    """One running process; its log is a list of JSON objects."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The parsed log, or the lines with one event."""
        parsed = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in parsed if event is None or line["event"] == event]

    def probe(self, path: str) -> int:
        """Status of a GET on the health port; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metric(self, name: str) -> float:
        """The sum of all samples whose name and labels begin with `name`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as response:
            text = response.read().decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}\S* (\S+)$", text, re.MULTILINE))

    @property
    def leads(self) -> bool:
        return bool(self.lines("reconciling"))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)


@dataclass
class Stage:
    """An API server of its own namespace and Lease, and the replicas that were started on it."""

    server: ApiServer
    folder: Path
    proxy: FaultProxy
    namespace: str = field(default_factory=lambda: f"m-{secrets.token_hex(3)}")
    replicas: list[Replica] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)

    def start(self, *, direct: bool = False, **settings: str) -> Replica:
        """Start a replica behind the proxy (or `direct`); keywords are settings without the prefix ELINK_."""
        port = free_port()
        kubeconfig = self.folder / f"kubeconfig-{port}"
        target = {"server": self.proxy.url}
        if direct:
            target = {"server": self.server.url, "certificate-authority": str(self.server.ca)}
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": target}],
                    "users": [{"name": "u", "user": {"token": self.server.admin_token}}],
                }
            )
        )
        chosen = {
            "KUBECONFIG": str(kubeconfig),
            "NAMESPACE": self.namespace,
            "METRICS_PORT": str(port),
            "WEBHOOK_ENABLED": "false",
            "LEASE_RETRY_SECONDS": "0.4",
            **(LONG_LEASE | settings),
        }
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'operator/src'}:{ROOT}",
            "STUB_SECONDS": chosen.pop("STUB_SECONDS", "0"),
            **{f"ELINK_{key}": value for key, value in chosen.items()},
        }
        log = self.folder / f"operator-{port}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, str(STUB)],
                env=environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self.replicas.append(Replica(process, log, port))
        return self.replicas[-1]

    def write(self, name: str, text: str = "x") -> None:
        """Create a tenant, or change its displayName."""
        body = {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "metadata": {"name": name},
            "spec": {"plan": "Shared", "displayName": text, "masterAccount": {"email": "a@example.com"}},
        }
        self.tenants.append(name)
        path = f"/apis/elink-lc.com/v1/elinktenants/{name}?fieldManager=test&force=true"
        status, answer = self.server.request("PATCH", path, body, content_type="application/apply-patch+yaml")
        assert status in (200, 201), answer

    def delete(self, name: str) -> None:
        """Delete a tenant; the stub sets no finalizer, so it is gone at once."""
        status, answer = self.server.request("DELETE", f"/apis/elink-lc.com/v1/elinktenants/{name}")
        assert status == 200, answer

    def mark(self, name: str) -> str | None:
        """What the stub wrote for a tenant."""
        status, answer = self.server.request("GET", f"/api/v1/namespaces/{self.namespace}/serviceaccounts/mark-{name}")
        return str(json.loads(answer)["metadata"]["annotations"]["mark"]) if status == 200 else None

    def marks(self) -> dict[str, str]:
        """Everything that the stub wrote."""
        _, answer = self.server.request("GET", f"/api/v1/namespaces/{self.namespace}/serviceaccounts")
        items = json.loads(answer)["items"]
        return {
            item["metadata"]["name"].removeprefix("mark-"): item["metadata"]["annotations"]["mark"]
            for item in items
            if item["metadata"]["name"].startswith("mark-")
        }


@pytest.fixture(scope="session")
def served(apiserver: ApiServer) -> ApiServer:
    apiserver.install_crds()
    return apiserver


@pytest.fixture
async def stage(served: ApiServer, tmp_path: Path) -> AsyncIterator[Stage]:
    async with FaultProxy(served.url, served.ca) as proxy:
        made = Stage(served, tmp_path, proxy)
        served.kubectl.run("create", "namespace", made.namespace)
        yield made
        for replica in made.replicas:
            replica.process.kill()
            replica.process.wait()
        for name in set(made.tenants):
            served.request("DELETE", f"/apis/elink-lc.com/v1/elinktenants/{name}")


async def until(check: Callable[[], object], seconds: float = 60) -> None:
    """Wait in a thread-friendly way until `check` is true."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(check):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
