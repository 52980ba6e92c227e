"""A person who reads pages, one after the other, while mails are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from elink_operator.database.model import TenantDb

from tests.tenant_app.support import Browser, Server
from tests.tenant_app.test_process import started

_PAUSE = 0.02
_FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


class _Gateway(httpx.AsyncHTTPTransport):
    """Takes what is meant for the tenant's HTTPS address to the web process, as a gateway does."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )


@dataclass
class Reader:
    """Seconds that each page took."""

    browser: Browser
    took: list[float] = field(default_factory=list)

    async def read(self, paths: list[str]) -> None:
        """Until cancelled."""
        while True:
            for path in paths:
                begun = time.monotonic()
                answer = await self.browser.get(path)
                if answer.status_code != httpx.codes.OK:
                    raise SystemExit(f"{path}: {answer.status_code}")
                self.took.append(time.monotonic() - begun)
                await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def reader(server: Server, tenant: TenantDb) -> AsyncIterator[Reader]:
    """The web process of the app, and the tenant's master, who is logged in."""
    with started("web", server) as web:
        await asyncio.to_thread(web.ready)
        async with httpx.AsyncClient(
            base_url=f"https://{tenant.host}", transport=_Gateway(web.web), headers=_FORWARDED, timeout=60
        ) as client:
            browser = Browser(client, tenant.host)
            answer = await browser.set_up(tenant)
            if answer.status_code != httpx.codes.SEE_OTHER:
                raise SystemExit(f"no log-in: {answer.status_code}")
            yield Reader(browser)
