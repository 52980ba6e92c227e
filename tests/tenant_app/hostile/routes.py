"""Calls of every route with ids that the caller has no business with, made from the table of routes and the API's own
description: a new route is covered without a line here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from elink_app.web.app import ROUTERS
from fastapi.routing import APIRoute

from tests.tenant_app.support import ORIGIN_HEADERS, Browser

# What ends the caller's own session, or counts against its log-in.
_ENDS = re.compile(r"/logout|/login|/setup|/welcome|/account/password|/account/second-factor|/account/sessions")
# Fields of bodies that name something by its id.
_IDS = re.compile(r"(.*_id|keep|merge|id|address|roles|see|export|send)\Z")


def routes() -> list[tuple[str, str]]:
    """(method, path as it is written) of every route."""
    found = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return [(method, route.path) for route in found for method in sorted(route.methods)]


@dataclass(frozen=True)
class Probe:
    """One caller, and what it tries to reach."""

    browser: Browser
    # Numbers of things that are not the caller's.
    ids: tuple[int, ...]
    # A value by the name of a part of a path that is no number.
    names: Mapping[str, str]
    # What a search looks for: a part of what must not be found, so that an echo of it is no find.
    query: str

    async def tries(self) -> Iterator[tuple[str, httpx.Response]]:
        """Every answer, with the call: first what reads, then what writes."""
        token = (await self.browser.get("/api/v1/session")).json()["csrf_token"]
        examples = _examples((await self.browser.get("/openapi.json")).json())
        found = []
        for method, path in sorted(routes(), key=lambda one: one[0] != "GET"):
            if _ENDS.match(path) and method != "GET":
                continue
            for number in self.ids if "{" in path or method != "GET" else self.ids[:1]:
                where = re.sub(r"{(\w+)}", lambda part, n=number: self.names.get(part[1], str(n)), path)
                options = self._options(method, path, number, token, examples)
                answer = await self.browser.client.request(method, where, **options)
                found.append((f"{method} {where}", answer))
        return iter(found)

    def _options(
        self, method: str, path: str, number: int, token: str, examples: Mapping[tuple[str, str], Any]
    ) -> dict[str, Any]:
        params = {name: number for name in ("address", "deleted", "merged")} | {"id": [number, self.ids[0]]}
        params |= {"q": self.query, "email": self.names.get("email", "")}
        if method == "GET":
            return {"params": params}
        headers = {**ORIGIN_HEADERS, "X-CSRF-Token": token}
        if path.startswith("/api/"):
            body = _with_ids(examples.get((method, path)), number)
            return {"headers": headers, **({"json": body} if body is not None else {})}
        data = {name: str(number) for name in ("keep", "merge", "address", "address_id", "segment_id", "template_id")}
        data |= {"id": str(number), "name": "x", "email": self.names.get("email", ""), "why": "x", "kind": "withdrawn"}
        return {"headers": headers, "params": params, "data": {**data, "csrf_token": token, "q": self.query}}


def _examples(document: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """The example of each operation's body."""
    found = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            reference = content["schema"].get("$ref", "").rpartition("/")[2]
            schema = document["components"]["schemas"].get(reference, content["schema"])
            found[method.upper(), path] = next(iter(schema.get("examples", [{}])))
    return found


def _with_ids(body: Any, number: int) -> Any:
    if isinstance(body, dict):
        return {
            name: ([number] if isinstance(value, list) else number)
            if _IDS.match(name) and not isinstance(value, str | bool)
            else _with_ids(value, number)
            for name, value in body.items()
        }
    return [_with_ids(one, number) for one in body] if isinstance(body, list) else body
