"""A reverse proxy before a real API server that breaks things on command.

Plain HTTP on loopback towards the client, HTTPS towards the server; answers and streams pass unchanged unless a fault
says otherwise. Faults are matched in the order in which they were added; a fault with `times` ends by itself.

    async with FaultProxy(server.url, server.ca) as proxy:
        proxy.fail(429, method="PATCH", retry_after=1, times=3)
        proxy.cut_watches()
        async with proxy.outage():
            ...
        assert proxy.count("PATCH", "/status$") == 1
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import aiohttp
from aiohttp import web

Effect = Literal["status", "drop", "lose", "delay", "hold", "gone"]
_HOP_HEADERS = {"transfer-encoding", "connection", "keep-alive", "content-length", "host", "content-encoding"}


@dataclass
class Fault:
    """One thing that goes wrong. `method` and `path` (a regular expression, searched in path?query) choose requests.

    status: answer `status` without asking the server. drop: cut the connection before the server hears of it.
    lose: the server does it, the answer is lost. delay: wait `seconds`, then go on. hold: wait until `go` is set.
    gone: a watch gets ERROR 410.
    """

    effect: Effect
    method: str | None = None
    path: str = ""
    times: int | None = None
    status: int = 500
    retry_after: int | None = None
    seconds: float = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    hits: int = 0

    def matches(self, request: web.Request) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method is not None and request.method != self.method:
            return False
        return re.search(self.path, request.path_qs) is not None


@dataclass(frozen=True)
class Seen:
    """A request that reached the proxy, and what the client was told (0: nothing)."""

    method: str
    path: str
    status: int
    forwarded: bool


class FaultProxy:
    """See the module. `url` is the address for clients; `seen` lists every finished request, watches included."""

    def __init__(self, upstream: str, ca: Path | None) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._upstream = upstream
        self._tls = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._faults: list[Fault] = []
        self._down = False
        self._streams: dict[int, web.Request] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or False),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.heal()
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # -- faults ------------------------------------------------------------------------------------------

    def add(self, fault: Fault) -> Fault:
        """Add a fault; returns it, so that its `hits` can be read."""
        self._faults.append(fault)
        return fault

    def fail(
        self,
        status: int,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = None,
        retry_after: int | None = None,
    ) -> Fault:
        """Answer with an error status."""
        return self.add(Fault("status", method=method, path=path, times=times, status=status, retry_after=retry_after))

    def drop(self, *, method: str | None = None, path: str = "", times: int | None = None) -> Fault:
        """Cut the connection; the server hears nothing."""
        return self.add(Fault("drop", method=method, path=path, times=times))

    def lose(self, *, method: str | None = None, path: str = "", times: int | None = None) -> Fault:
        """Let the server do it, but lose the answer."""
        return self.add(Fault("lose", method=method, path=path, times=times))

    def delay(self, seconds: float, *, method: str | None = None, path: str = "", times: int | None = None) -> Fault:
        """Answer late; other faults still apply."""
        return self.add(Fault("delay", method=method, path=path, times=times, seconds=seconds))

    def hold(self, *, method: str | None = None, path: str = "", times: int | None = None) -> Fault:
        """Keep requests back until `go` of the fault is set; other faults still apply."""
        return self.add(Fault("hold", method=method, path=path, times=times))

    def expire(self, *, path: str = "", times: int | None = 1) -> Fault:
        """Answer the next watches with ERROR 410."""
        return self.add(Fault("gone", path=rf"{path}.*watch=1|{path}.*watch=true", times=times))

    def heal(self) -> None:
        """Remove all faults, and let go what is held."""
        for fault in self._faults:
            fault.go.set()
        self._faults.clear()

    def cut_watches(self, path: str = "") -> int:
        """Cut the open watches whose path?query matches; returns how many."""
        cut = [request for request in self._streams.values() if re.search(path, request.path_qs)]
        for request in cut:
            if request.transport is not None:
                request.transport.abort()
        return len(cut)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Cut everything, watches too, until the block ends."""
        self._down = True
        self.cut_watches()
        try:
            yield
        finally:
            self._down = False

    # -- what was seen -----------------------------------------------------------------------------------

    def count(self, method: str | None = None, path: str = "", *, forwarded: bool = True) -> int:
        """How many finished requests matched; by default only those that the server got."""
        return len(
            [
                seen
                for seen in self.seen
                if (method is None or seen.method == method)
                and re.search(path, seen.path)
                and (seen.forwarded or not forwarded)
            ]
        )

    def writes(self) -> list[Seen]:
        """Every request that the server got and that could change something, Leases excepted."""
        return [seen for seen in self.seen if seen.method != "GET" and seen.forwarded and "/leases" not in seen.path]

    def calls(self) -> list[Seen]:
        """Every request but watches, which begin anew from time to time whatever happens, and Leases."""
        return [seen for seen in self.seen if "watch=" not in seen.path and "/leases" not in seen.path]

    @property
    def open_watches(self) -> int:
        """Watches that are open now."""
        return len(self._streams)

    def watches(self, path: str) -> int:
        """Open watches whose path?query matches."""
        return len([request for request in self._streams.values() if re.search(path, request.path_qs)])

    # -- machinery ---------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._down:
            return self._cut(request, forwarded=False)
        lose = False
        for fault in list(self._faults):
            if not fault.matches(request):
                continue
            fault.hits += 1
            if fault.effect in ("delay", "hold"):
                await (asyncio.sleep(fault.seconds) if fault.effect == "delay" else fault.go.wait())
                if request.transport is None or request.transport.is_closing():
                    # The client was killed meanwhile: the server never heard of it.
                    return self._cut(request, forwarded=False)
            elif fault.effect == "lose":
                lose = True
            else:
                return await self._break(request, fault)
        return await self._forward(request, lose=lose)

    async def _break(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.effect == "drop":
            return self._cut(request, forwarded=False)
        if fault.effect == "gone":
            self.seen.append(Seen(request.method, request.path_qs, 200, forwarded=False))
            event = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            return web.Response(text=json.dumps(event) + "\n", content_type="application/json")
        self.seen.append(Seen(request.method, request.path_qs, fault.status, forwarded=False))
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        body = {"kind": "Status", "status": "Failure", "code": fault.status, "message": "injected fault"}
        return web.json_response(body, status=fault.status, headers=headers)

    def _cut(self, request: web.Request, *, forwarded: bool) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.path_qs, 0, forwarded=forwarded))
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    async def _forward(self, request: web.Request, *, lose: bool) -> web.StreamResponse:
        assert self._session is not None
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_HEADERS}
        body = await request.read()
        try:
            async with self._session.request(
                request.method,
                self._upstream + request.raw_path,
                headers=headers,
                data=body or None,
                allow_redirects=False,
            ) as answer:
                if lose:
                    await answer.read()
                    return self._cut(request, forwarded=True)
                if "watch=" in request.query_string:
                    return await self._stream(request, answer)
                content = await answer.read()
        except (aiohttp.ClientError, OSError):
            return self._cut(request, forwarded=False)
        if self._down:
            return self._cut(request, forwarded=True)
        self.seen.append(Seen(request.method, request.path_qs, answer.status, forwarded=True))
        return web.Response(body=content, status=answer.status, headers=_answer_headers(answer))

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_answer_headers(answer))
        await response.prepare(request)
        self._streams[id(request)] = request
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except (ConnectionError, aiohttp.ClientError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.pop(id(request), None)
            self.seen.append(Seen(request.method, request.path_qs, answer.status, forwarded=True))
        return response


def _answer_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP_HEADERS}
    if "Content-Encoding" in answer.headers:
        kept["Content-Encoding"] = answer.headers["Content-Encoding"]
    return kept
