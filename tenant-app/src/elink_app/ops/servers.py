"""Runs HTTP servers in one loop until a signal asks to stop, then lets requests end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from elink_app.settings import Settings

_KEEP_ALIVE_SECONDS = 75  # longer than the gateway keeps idle connections, so that it never writes into a closed one

log = structlog.get_logger("process")


class _Server(uvicorn.Server):
    """Signals are the process's business, not one server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture."""
        yield


class Stop:
    """The wish to stop, made by SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def on_signals(self) -> None:
        """Take over the two signals."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.now)

    def now(self) -> None:
        """Ask to stop."""
        self._event.set()

    @property
    def asked(self) -> bool:
        """True once stopping was asked for."""
        return self._event.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the wish, `timeout` seconds at most; True when it came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        return self.asked


def web_server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """Port 8000, behind the gateway: only its word about the client's address counts."""
    return _server(
        app,
        settings,
        settings.web_port,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


def ops_server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """Port 9000."""
    return _server(app, settings, settings.ops_port, proxy_headers=False)


def _server(app: ASGIApp, settings: Settings, port: int, **options: object) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=settings.listen_host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
        **options,  # type: ignore[arg-type]
    )
    return _Server(config)


async def run_servers(stop: Stop, settings: Settings, *, first: list[uvicorn.Server], last: uvicorn.Server) -> None:
    """Serve until `stop`. `last` (probes, metrics) goes on until the others have answered what they had begun."""
    tasks = [asyncio.create_task(server.serve()) for server in first]
    last_task = asyncio.create_task(last.serve())
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, last_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if stop.asked and first:
        log.info("draining", seconds=settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    for server in first:
        server.should_exit = True
    await asyncio.gather(*tasks)
    last.should_exit = True
    await last_task
    waiting.cancel()
    log.info("stopped")
