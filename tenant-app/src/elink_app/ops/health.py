"""The port for kubelet and Prometheus: /healthz, /readyz, /metrics. No tenant's request ever comes here."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def ops_app(*, alive: Callable[[], bool], ready: Callable[[], bool], registry: CollectorRegistry) -> Starlette:
    """`alive` False = restart me; `ready` False = send me no requests."""

    async def healthz(_request: Request) -> Response:
        return _answer(alive())

    async def readyz(_request: Request) -> Response:
        return _answer(ready())

    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": media_type})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _answer(good: bool) -> Response:
    return PlainTextResponse("ok\n" if good else "not ready\n", 200 if good else 503)
