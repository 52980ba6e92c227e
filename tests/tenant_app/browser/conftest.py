"""The application over TLS on a loopback port, and Debian's Chromium in front of it. No cluster is needed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.tenant_app.support import Server, World, eventually, running_world

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
T = TypeVar("T")
# As long as an action may take: a password check on a busy machine outlasts Playwright's five seconds.
expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser and PostgreSQL."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.postgres)


@dataclass
class Site:
    """The served application; `run` does something in its event loop."""

    port: int
    loop: asyncio.AbstractEventLoop
    world: World = field(init=False)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def url(self, tenant: TenantDb, path: str = "/") -> str:
        return f"https://{tenant.host}:{self.port}{path}"


@pytest.fixture(scope="module")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Served from a thread of its own, because Playwright's plain API wants the main one."""
    certificate, key = Authority(tmp_path_factory.mktemp("tls")).issue("elink-app")
    made = Site(free_port(), asyncio.new_event_loop())
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        # Links in mails and the origin of passkeys name the port.
        settings = server.settings.model_copy(update={"external_port": made.port})
        async with running_world(Server(server.postgres, settings)) as made.world:
            config = uvicorn.Config(
                made.world.asgi,  # type: ignore[arg-type]
                host="127.0.0.1",
                port=made.port,
                ssl_certfile=str(certificate),
                ssl_keyfile=str(key),
                log_config=None,
                access_log=False,
                lifespan="off",
            )
            serving = uvicorn.Server(config)
            task = asyncio.create_task(serving.serve())
            await eventually(lambda: serving.started)
            started.set()
            await stop.wait()
            serving.should_exit = True
            await task

    thread = threading.Thread(target=lambda: made.loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    yield made
    made.loop.call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser; each test opens contexts (profiles) of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", headless=True, args=CHROMIUM_FLAGS, env=dict(os.environ)
        )
        yield browser
        browser.close()
