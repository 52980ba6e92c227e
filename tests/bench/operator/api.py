"""The smallest client that can write objects: what the operator is compared with uses nothing of the operator's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

Obj = dict[str, Any]


class Api:
    """GET, POST, PATCH, DELETE and WATCH by path, with a bearer token, over HTTP/1.1 and TLS."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base
        self.requests = 0

    async def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Obj:
        """One request; `RuntimeError` with the server's words when it is refused."""
        self.requests += 1
        async with self._session.request(
            method,
            self._base + path,
            data=None if body is None else orjson.dumps(body),
            headers={"Content-Type": content_type},
        ) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
            parsed: Obj = orjson.loads(text)
            return parsed

    async def apply(self, path: str, body: Obj, manager: str) -> Obj:
        """Server-side apply of one object to its own path."""
        return await self.call(
            "PATCH", f"{path}?fieldManager={manager}&force=true", body, "application/apply-patch+yaml"
        )

    async def items(self, path: str) -> tuple[list[Obj], str]:
        """All objects of a collection and the list's resourceVersion."""
        found = await self.call("GET", path)
        return found["items"], found["metadata"]["resourceVersion"]

    async def watch(self, path: str, since: str) -> AsyncIterator[Obj]:
        """Events of a collection after `since`; a stream that ends is opened again where it stopped."""
        version = since
        while True:
            url = f"{self._base}{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={version}"
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
                answer.raise_for_status()
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event: Obj = orjson.loads(line)
                        if event["type"] == "ERROR":
                            raise RuntimeError(str(event["object"]))
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            yield event
            await asyncio.sleep(0.1)


@asynccontextmanager
async def connect(base: str, ca: str, token: str, connections: int = 64) -> AsyncIterator[Api]:
    """A client of the API server at `base` that trusts `ca` (a path)."""
    connector = aiohttp.TCPConnector(limit=connections, ssl=ssl.create_default_context(cafile=ca))
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Api(session, base)
