"""A person who reads pages, one after the other, while mails are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from elink_operator.database.model import TenantDb

from tests.tenant_app.support import PASSWORD, Server, read_token, setup_token
from tests.tenant_app.test_process import started

_PAUSE = 0.02


@dataclass
class Reader:
    """Seconds that each page took."""

    client: httpx.AsyncClient
    took: list[float] = field(default_factory=list)

    async def read(self, paths: list[str]) -> None:
        """Until cancelled."""
        while True:
            for path in paths:
                begun = time.monotonic()
                answer = await self.client.get(path)
                if answer.status_code != httpx.codes.OK:
                    raise SystemExit(f"{path}: {answer.status_code}")
                self.took.append(time.monotonic() - begun)
                await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def reader(server: Server, tenant: TenantDb) -> AsyncIterator[Reader]:
    """The web process of the app, and the tenant's master, who is logged in."""
    with started("web", server) as web:
        await asyncio.to_thread(web.ready)
        headers = {"Host": tenant.host, "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web.web}", headers=headers, timeout=60) as client:
            token = setup_token(tenant.name)
            page = await client.get(f"/setup?token={token}")
            cookie = page.headers["set-cookie"].split(";")[0]
            data = {"csrf_token": read_token(page.text), "token": token, "password": PASSWORD,
                    "password_repeated": PASSWORD}  # fmt: skip
            sent = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
            answer = await client.post("/setup", data=data, headers=sent)
            if answer.status_code != httpx.codes.SEE_OTHER:
                raise SystemExit(f"no log-in: {answer.status_code}")
            session = next(one for one in answer.headers.get_list("set-cookie") if "session=" in one)
            client.cookies.clear()
            client.headers["Cookie"] = session.split(";")[0]
            yield Reader(client)
