"""A webhook that is gone, or that hangs, delays a write by at most its timeout and never blocks it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.operator.admission.conftest import Webhook
from tests.operator.admission.objects import API, create, tenant_body
from tests.support.apiserver import ApiServer
from tests.support.kubectl import eventually

pytestmark = pytest.mark.apiserver

TIMEOUT = 5.0
SLACK = 3.0


@pytest.fixture
def hanging(webhook: Webhook) -> Iterator[Webhook]:
    """Accepts connections and says nothing."""
    assert webhook.running is not None
    os.kill(webhook.running.pid, signal.SIGSTOP)
    yield webhook
    os.kill(webhook.running.pid, signal.SIGCONT)


@pytest.fixture
def gone(webhook: Webhook) -> Iterator[Webhook]:
    """Nothing listens."""
    webhook.stop()
    yield webhook
    webhook.start()


def _write_and_delete(server: ApiServer, name: str) -> list[float]:
    """Seconds of a create, an update and a delete, none of which may fail."""
    seconds = []
    path = f"{API}/elinktenants/{name}"

    def timed(expected: int, *request: object) -> None:
        started = time.monotonic()
        status, answer = server.request(*request)  # type: ignore[arg-type]
        assert status == expected, answer
        seconds.append(time.monotonic() - started)

    timed(201, "POST", f"{API}/elinktenants", tenant_body(name, server="nowhere"))
    body = tenant_body(name, state="Cancelled", meta={"resourceVersion": _version(server, path)})
    timed(200, "PUT", path, body)
    timed(200, "DELETE", path)
    return seconds


def _version(server: ApiServer, path: str) -> str:
    version: str = json.loads(server.request("GET", path)[1])["metadata"]["resourceVersion"]
    return version


def test_gone(gone: Webhook, refusing: ApiServer) -> None:
    assert max(_write_and_delete(refusing, "outage-gone")) < 1.0


def test_hanging(hanging: Webhook, refusing: ApiServer) -> None:
    assert max(_write_and_delete(refusing, "outage-hanging")) < TIMEOUT + SLACK


def test_customers_data_is_safe_meanwhile(gone: Webhook, refusing: ApiServer) -> None:
    assert create(refusing, tenant_body("outage-active"))[0] == 201
    assert "outage-active is Active" in refusing.kubectl.refused("delete", "et", "outage-active")


def test_what_slipped_through_can_be_repaired(webhook: Webhook, refusing: ApiServer) -> None:
    assert create(refusing, tenant_body("outage-first"))[0] == 201
    webhook.stop()
    assert create(refusing, tenant_body("outage-twin", host="outage-first"))[0] == 201
    webhook.start()
    sentence = "Host outage-first.elink.example is taken by tenant outage-first: set spec.host to another name."
    third = tenant_body("outage-third", host="outage-first")
    eventually(lambda: sentence in create(refusing, third, dry_run=True)[1], timeout=60)
    admin = refusing.kubectl
    admin.run("annotate", "et", "outage-twin", "note=finalizers-and-annotations-still-pass")
    admin.run(
        "patch", "et", "outage-twin", "--type=merge", "-p", '{"metadata":{"finalizers":["elink-lc.com/erasure"]}}'
    )
    admin.run("patch", "et", "outage-first", "--type=merge", "-p", '{"spec":{"language":"en"}}')
    assert sentence in admin.refused("patch", "et", "outage-twin", "--type=merge", "-p", '{"spec":{"language":"en"}}')
    admin.run("patch", "et", "outage-twin", "--type=merge", "-p", '{"spec":{"host":"outage-second"}}')
