"""/metrics, /healthz, /livez and /readyz on a port of their own."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from elink_operator.metrics import Metrics

Check = Callable[[], str | None]
"""Returns None when all is well, else a sentence."""

_SAMPLE: Final = 0.5
_WINDOW: Final = 60


class LoopLag:
    """Measures how late the event loop is: the worst delay of the last 30 seconds."""

    def __init__(self, metrics: Metrics) -> None:
        self._delays: deque[float] = deque(maxlen=_WINDOW)
        metrics.loop_lag.set_function(lambda: self.worst)

    @property
    def worst(self) -> float:
        """Seconds."""
        return max(self._delays, default=0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            expected = clock() + _SAMPLE
            await asyncio.sleep(_SAMPLE)
            self._delays.append(max(0.0, clock() - expected))


def application(metrics: Metrics, *, live: Check, ready: Check) -> web.Application:
    """The web application; an event loop that hangs does not answer at all, which fails the probes too."""

    async def serve_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            problem = check()
            return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

        return answer

    app = web.Application(client_max_size=1024)
    app.router.add_get("/metrics", serve_metrics)
    app.router.add_get("/healthz", probe(live))
    app.router.add_get("/livez", probe(live))
    app.router.add_get("/readyz", probe(ready))
    return app


async def serve(app: web.Application, port: int) -> web.AppRunner:
    """Listen on all addresses; the runner's `cleanup` stops it. OSError when the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner
