"""Input that wants to break something: an answer 4xx, quickly, and the webhook goes on working."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.operator.admission.conftest import Webhook
from tests.operator.admission.objects import API, create, tenant_body
from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.apiserver

WRONG: list[Any] = [None, True, -1, 2**63, 1e308, "x", "\ud7ff", [], [[]], {}, {"a": {"a": {}}}, ["x", 1, {}]]
FULL: dict[str, Any] = {
    "plan": "Dedicated",
    "displayName": "A",
    "region": "jp",
    "host": "hostile",
    "masterAccount": {"email": "a@b.example"},
    "state": "Active",
    "size": {
        "app": {"replicas": 2, "autoscaling": {"min": 1}, "resources": {"limits": {"cpu": "1"}}},
        "database": {"mode": "Embedded", "storage": "1Gi"},
        "files": {"size": "1Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce"},
    },
    "limits": {"addresses": 1, "mailsPerHour": 1, "storage": "1Gi"},
    "backup": {"schedule": "1 1 * * *", "generations": 7},
    "contacts": {"emails": ["a@b.example"], "chatworkRoomId": "1"},
    "mail": {"from": "a@b.example", "smtpSecretRef": {"name": "a"}},
    "language": "en",
}


def paths(node: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if here:
        yield here
    if isinstance(node, dict):
        for key, part in node.items():
            yield from paths(part, (*here, key))


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(json.dumps(FULL))
    parent: Any = spec
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return spec


def still_works(webhook: Webhook) -> bool:
    return webhook._answers()


@pytest.mark.parametrize("path", list(paths(FULL)), ids=lambda path: ".".join(path))
def test_type_confusion(path: tuple[Any, ...], refusing: ApiServer, webhook: Webhook) -> None:
    for value in WRONG:
        body = tenant_body("hostile")
        body["spec"] = replaced(path, value)
        status, message = create(refusing, body, dry_run=True)
        assert status == 201 or 400 <= status < 500, (value, status, message)


def test_the_document_that_is_confused_is_good_itself(refusing: ApiServer, webhook: Webhook) -> None:
    body = tenant_body("hostile")
    body["spec"] = FULL
    assert create(refusing, body, dry_run=True)[0] == 201


@pytest.mark.parametrize(
    ("meta", "spec", "sentence"),
    [
        ({}, {"displayName": "あ" * 300_000}, "spec.displayName: Too long"),
        ({}, {"host": "a" * 1_000_000}, "spec.host: Too long"),
        ({}, {"contacts": {"emails": [f"a{number}@b.example" for number in range(50_000)]}}, "Too many"),
        ({"annotations": {"junk": "x" * 1_000_000}}, {}, "metadata.annotations: Too long: may not be more than 262144"),
        ({"labels": {"junk": "x" * 1_000}}, {}, "metadata.labels: Invalid value"),
        ({"name": "a" * 300}, {}, "metadata.name"),
        ({"name": "../../etc/passwd"}, {}, "metadata.name"),
        ({"name": "a'; DROP DATABASE elink_registry; --"}, {}, "metadata.name"),
    ],
)
def test_huge_or_crooked(meta: Any, spec: Any, sentence: str, refusing: ApiServer, webhook: Webhook) -> None:
    started = time.monotonic()
    status, message = create(refusing, tenant_body("hostile-huge", meta=meta, **spec))
    assert (400 <= status < 500, sentence in message) == (True, True), (status, message[:500])
    assert time.monotonic() - started < 30
    assert still_works(webhook)


def test_a_body_above_the_servers_limit(refusing: ApiServer, webhook: Webhook) -> None:
    """The API server answers 413 and hangs up, which a client may see as a broken connection."""
    body = tenant_body("hostile-3mb", displayName="A" * 3_200_000)
    with contextlib.suppress(OSError):
        assert refusing.request("POST", f"{API}/elinktenants", body)[0] == 413
    assert refusing.kubectl.items("et", "hostile-3mb") == []
    assert still_works(webhook)


def test_the_largest_annotations_pass_the_webhook(refusing: ApiServer, webhook: Webhook) -> None:
    meta = {"annotations": {"junk": "x" * 260_000}}
    assert create(refusing, tenant_body("hostile-annotated", meta=meta))[0] == 201
    assert (
        "nowhere does not exist" in create(refusing, tenant_body("hostile-annotated-2", meta=meta, server="nowhere"))[1]
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"apiVersion":"elink-lc.com/v1","kind":"ElinkTenant","metadata":{"name":"h"},"spec":' + b'{"a":' * 20_000,
        b'{"apiVersion":"elink-lc.com/v1","kind":"ElinkTenant","metadata":{"name":"h"},"spec":{"displayName":"\xff\xfe"}}',
        b'{"apiVersion":"elink-lc.com/v1","kind":"ElinkTenant","metadata":{"name":"h"},"spec":{"plan":"Shared","plan":"Dedicated"}}',
        b"[]",
        b"null",
        b"\x00",
    ],
    ids=["deep", "not-utf-8", "twice", "list", "null", "zero-byte"],
)
def test_raw_bytes(raw: bytes, refusing: ApiServer, webhook: Webhook) -> None:
    status, _ = refusing.request("POST", f"{API}/elinktenants?fieldValidation=Strict", raw)
    assert 400 <= status < 500
    assert still_works(webhook)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"request":{}}',
        b'{"request":{"resource":{"group":"elink-lc.com","version":"v1","resource":"elinktenants"},"operation":"CREATE"}}',
        b'{"request":{"uid":"u","operation":"CREATE","userInfo":{},"object":{"spec":7},"oldObject":null,'
        b'"resource":{"group":"elink-lc.com","version":"v1","resource":"elinktenants"}}}',
        b"x" * 5_000_000,
    ],
)
def test_junk_sent_to_the_webhook_itself(raw: bytes, webhook: Webhook) -> None:
    context = ssl.create_default_context(cafile=str(webhook.server.ca))
    request = urllib.request.Request(f"https://127.0.0.1:{webhook.port}/tenant", data=raw, method="POST")
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(request, timeout=10, context=context) as response,
    ):
        json.loads(response.read())
    assert still_works(webhook)
