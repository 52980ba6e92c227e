"""Calls that schemathesis makes up from the API's own description: no 5xx, and every answer is what is documented."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.tenant_app.security.test_second_factor import switch_on
from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

pytestmark = pytest.mark.postgres

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 4
# Sending is not generation: the values are collected first, and sent from the test's own event loop.
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def cases(operation: Any) -> list[Any]:
    """Calls of one operation: right ones by its schema, and wrong ones."""
    found: list[Any] = []
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except Exception:  # an operation without input cannot be called wrongly
            if mode is schemathesis.GenerationMode.NEGATIVE:
                continue
            raise

        @seed(20261124)
        @BOUNDED
        @given(strategy)
        def collect(case: Any) -> None:
            found.append(case)

        collect()
    return found


async def furnish(me: Browser) -> None:
    """Something of every kind with the number 1 or 2, so that calls get past "there is no such thing"."""
    made = [
        ("/api/v1/attributes", {"key": "size", "label": "大きさ", "type": "number"}),
        ("/api/v1/addresses", {"name": "山田", "emails": ["y@example.jp"], "tags": ["得意先"]}),
        ("/api/v1/addresses", {"name": "山田", "emails": ["y2@example.jp"]}),
        ("/api/v1/roles", {"name": "編集者", "permissions": ["addresses:view"]}),
        ("/api/v1/users", {"email": "u@example.jp", "display_name": "佐藤", "roles": [1]}),
        ("/api/v1/user-fields", {"key": "staff", "label": "社員番号", "kind": "text"}),
    ]
    for path, body in made:
        answer = await me.api("POST", path, json=body)
        assert answer.status_code == 201, (path, answer.text)


async def test_no_call_breaks_the_description(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    tenant = await world.tenant(limits={"addresses": 100_000})
    me = await world.master(tenant)
    await furnish(me)
    # A call may demand a second factor of all: without one the master would only knock at closed doors from then on.
    await switch_on(me)
    document = (await me.get("/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    failures: dict[str, str] = {}
    sent = good = 0
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    for result in schema.get_all_operations():
        operation = result.ok()
        numbers = itertools.cycle((None, 1, 2))
        for case in cases(operation):
            number = next(numbers)
            if number is not None and case.path_parameters:
                case.path_parameters = {
                    name: number if name.endswith("_id") else value for name, value in case.path_parameters.items()
                }
            answer = await send(me, case, token)
            sent += 1
            good += answer.is_success
            try:
                case.validate_response(answer, checks=CHECKS)
            except BaseExceptionGroup as error:
                for found in error.exceptions:
                    key = f"{operation.method.upper()} {operation.path} {answer.status_code} {type(found).__name__}"
                    called = f"{str(answer.request.url)[:300]} {answer.request.content[:200]!r}"
                    failures.setdefault(key, f"{called} {answer.text[:300]} {found}")
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", answer.request.url
                assert set(answer.json()) >= {"type", "title", "status", "detail", "request_id"}
    assert not failures, "\n\n".join(f"{key}: {text}" for key, text in sorted(failures.items()))
    # Else it would be a test that only knocks at closed doors.
    assert sent > 300
    assert good > 80


async def send(me: Browser, case: Any, token: str) -> httpx.Response:
    """One call as the logged-in master. The transport's own client refuses what no client can send."""
    options = case.as_transport_kwargs(base_url=str(me.client.base_url).rstrip("/"))
    request = {name: options.get(name) for name in ("method", "url", "params", "json", "data", "content", "files")}
    headers = {
        name: value
        for name, value in (options.get("headers") or {}).items()
        if name.lower() not in ("cookie", "authorization", "x-csrf-token", "user-agent")
    }
    headers |= {**ORIGIN_HEADERS, "X-CSRF-Token": token}
    data = request.pop("data")
    if isinstance(data, str | bytes):
        request["content"] = data
    elif data is not None:
        request["data"] = data
    if request["files"] is not None:
        request["files"] = [(name, sendable(value)) for name, value in pairs(request["files"])]
    answer = await me.client.request(**{k: v for k, v in request.items() if v is not None}, headers=headers)
    # A form with a file is sent as a stream, and the checks look at what was sent.
    await answer.request.aread()
    return answer


def pairs(files: Any) -> list[tuple[str, Any]]:
    """The parts of a form, in either way to give them."""
    return list(files.items()) if isinstance(files, dict) else list(files)


def sendable(value: Any) -> Any:
    """A part as bytes: numbers and the like in a file's place are no client's idea of a file."""
    if isinstance(value, tuple):
        return (value[0], sendable(value[1]), *value[2:])
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
