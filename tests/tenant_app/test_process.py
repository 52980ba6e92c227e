"""The real program: its roles, ports, metrics, logs, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.tenant_app.support import PASSWORD, Server, make_settings, new_tenant, read_token, setup_token

pytestmark = pytest.mark.postgres


@dataclass
class Process:
    """A running role and what it has said."""

    popen: subprocess.Popen[str]
    web: int
    ops: int
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.popen.stdout
        self.lines.extend(line for line in self.popen.stdout)

    def probe(self, path: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{self.ops}{path}", timeout=30).status_code
        except httpx.TransportError:
            return 0

    def ready(self, wanted: int = 200, path: str = "/readyz") -> None:
        deadline = time.monotonic() + 150
        while self.probe(path) != wanted:
            assert time.monotonic() < deadline, "".join(self.lines[-20:])
            assert self.popen.poll() is None, "".join(self.lines[-20:])
            time.sleep(0.1)

    def metrics(self) -> dict[str, float]:
        text = httpx.get(f"http://127.0.0.1:{self.ops}/metrics", timeout=60).text
        return {
            sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextmanager
def started(role: str, server: Server, **environment: str) -> Iterator[Process]:
    ports = free_port(), free_port()
    settings = server.settings
    popen = subprocess.Popen(
        [sys.executable, "-m", "elink_app", role],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ELINK_DB_HOST": settings.db_host,
            "ELINK_DB_PORT": str(settings.db_port),
            "ELINK_DB_PASSWORD_FILE": str(settings.db_password_file),
            "ELINK_FILES_DIR": str(settings.files_dir),
            "ELINK_WEB_PORT": str(ports[0]),
            "ELINK_OPS_PORT": str(ports[1]),
            "ELINK_LISTEN_HOST": "127.0.0.1",
            "ELINK_EXTERNAL_PORT": "",
            "ELINK_DRAIN_SECONDS": "0.5",
            **environment,
        },
    )
    process = Process(popen, *ports)
    reader = threading.Thread(target=process.read, daemon=True)
    reader.start()
    try:
        yield process
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait(10)
        reader.join(5)


def stopped(process: Process, seconds: float = 90) -> int:
    process.popen.send_signal(signal.SIGTERM)
    return process.popen.wait(seconds)


def test_web(server: Server, tmp_path: Path) -> None:
    own = Server(server.postgres, make_settings(server.postgres, tmp_path))
    tenant = new_tenant()
    asyncio.run(own.ensure(tenant))
    with started("web", own) as process:
        process.ready()
        assert process.probe("/healthz") == 200
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{process.web}",
            headers={"Host": tenant.host, "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"},
            timeout=60,
        )
        page = client.get(f"/setup?token={setup_token(tenant.name)}")
        assert page.status_code == 200
        cookie = page.headers["set-cookie"].split(";")[0]
        data = {"csrf_token": read_token(page.text), "token": setup_token(tenant.name), "password": PASSWORD,
                "password_repeated": PASSWORD}  # fmt: skip
        answer = client.post("/setup", data=data, headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303, answer.text
        session = next(c for c in answer.headers.get_list("set-cookie") if "session=" in c).split(";")[0]
        assert client.get("/addresses?q=ひみつの検索語", headers={"Cookie": session}).status_code == 200
        assert "203.0.113.9" in client.get("/account", headers={"Cookie": session}).text
        assert client.get("/", headers={"Host": "nobody.example"}).status_code == 404
        # The other port's pages are not on this one, nor the other way round.
        assert client.get("/metrics").status_code == 404
        assert httpx.get(f"http://127.0.0.1:{process.ops}/login").status_code == 404
        found = process.metrics()
        assert found['elink_app_requests_total{"method": "POST", "route": "/setup", "status": "303"}'] == 1
        assert found[f'elink_app_tenant_requests_total{{"status_class": "2xx", "tenant": "{tenant.name}"}}'] >= 2
        assert found["elink_app_unknown_host_requests_total{}"] == 1
        assert found["elink_app_registry_connected{}"] == 1
        assert found["elink_app_registry_age_seconds{}"] < 40
        assert found['elink_app_tenants{"state": "Active"}'] >= 1
        assert found["elink_app_db_query_duration_seconds_count{}"] > 3
        assert found['elink_app_request_duration_seconds_count{"method": "GET", "route": "/setup"}'] == 1
        assert (own.settings.tenants_dir / tenant.directory).is_dir()
        assert stopped(process) == 0
    said = "".join(process.lines)
    for secret in (setup_token(tenant.name), PASSWORD, session.split("=")[1], own.postgres.app_password, "ひみつ",
                   tenant.master_email, data["csrf_token"]):  # fmt: skip
        assert secret not in said
    entries = [json.loads(line) for line in process.lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+09:00", entry["time"]) for entry in entries)
    assert {entry["role"] for entry in entries} == {"web"}
    access = [entry for entry in entries if entry["event"] == "request"]
    assert access[0] | {"milliseconds": 0, "time": "", "request_id": ""} == access[0] | {
        "method": "GET", "path": "/setup", "route": "/setup", "status": 200, "tenant": tenant.name,
        "client": "203.0.113.9", "milliseconds": 0, "time": "", "request_id": "",
    }  # fmt: skip


def test_requests_under_way_are_answered_before_it_stops(server: Server, tmp_path: Path) -> None:
    own = Server(server.postgres, make_settings(server.postgres, tmp_path))
    tenant = new_tenant()
    asyncio.run(own.ensure(tenant))
    with started("web", own) as process:
        process.ready()
        body = "email=a&password=b&csrf_token=c"
        slow = socket.create_connection(("127.0.0.1", process.web))
        head = (
            f"POST /login HTTP/1.1\r\nHost: {tenant.host}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        slow.sendall(head.encode())
        assert b"100 Continue" in slow.recv(4096), "the application waits for the body"
        slow.sendall(body[:5].encode())
        process.popen.send_signal(signal.SIGTERM)
        # Not ready any more, but still alive and answering.
        process.ready(503)
        assert process.probe("/healthz") == 200
        time.sleep(1)
        slow.sendall(body[5:].encode())
        answer = slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 403")
        assert process.popen.wait(90) == 0


def test_trusts_no_stranger_about_the_clients_address(server: Server, tmp_path: Path) -> None:
    own = Server(server.postgres, make_settings(server.postgres, tmp_path))
    tenant = new_tenant()
    asyncio.run(own.ensure(tenant))
    with started("web", own, ELINK_TRUSTED_PROXIES="192.0.2.1") as process:
        process.ready()
        headers = {"Host": tenant.host, "X-Forwarded-For": "203.0.113.9"}
        httpx.get(f"http://127.0.0.1:{process.web}/login", headers=headers, timeout=60)
        assert stopped(process) == 0
    assert '"client":"127.0.0.1"' in "".join(process.lines)
    assert "203.0.113.9" not in "".join(process.lines)


def test_alive_but_not_ready_while_postgresql_is_down(own_postgres: Postgres, tmp_path: Path) -> None:
    server = Server(own_postgres, make_settings(own_postgres, tmp_path))
    asyncio.run(server.prepare())
    own_postgres.stop()
    for role in ("web", "worker"):
        with started(role, server) as process:
            process.ready(path="/healthz")
            assert process.probe("/readyz") == 503
            own_postgres.start()
            process.ready()
            own_postgres.stop("immediate")
            time.sleep(1)
            assert process.probe("/readyz") == 200
            assert process.probe("/healthz") == 200
            assert stopped(process) == 0
    own_postgres.start()


def test_worker(server: Server, tmp_path: Path) -> None:
    own = Server(server.postgres, make_settings(server.postgres, tmp_path))
    with started("worker", own) as process:
        process.ready()
        deadline = time.monotonic() + 150
        while process.metrics().get('elink_app_worker_rounds_total{"outcome": "success"}', 0) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert time.time() - process.metrics()["elink_app_worker_heartbeat_timestamp_seconds{}"] < 60
        assert stopped(process) == 0


def test_wrong_settings_are_named(server: Server) -> None:
    with started("web", server, ELINK_TRUSTED_PROXIES="everybody") as process:
        assert process.popen.wait(90) != 0
    assert "trusted_proxies" in "".join(process.lines)
