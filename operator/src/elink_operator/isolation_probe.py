"""The isolation probe: a small HTTP server that tries TCP connections and says whether they succeeded.

It runs outside all servers, without rights and without secrets; it sends and reads no data.
GET /check?host=&port=&timeout= -> {"reachable": bool, "error": null | "timeout" | "refused" | "resolve" | "network"}
"""

import asyncio
import socket
from typing import Final

import orjson
from aiohttp import web

MAX_TIMEOUT: Final = 5.0
DEFAULT_TIMEOUT: Final = 2.0
MAX_CONCURRENT: Final = 16
_MAX_HOST: Final = 253

_slots: Final = web.AppKey("slots", asyncio.Semaphore)


async def try_connect(host: str, port: int, timeout: float) -> str | None:
    """Open and close one TCP connection; None when it succeeded, else a word for what happened."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except (socket.gaierror, UnicodeError):
        return "resolve"
    except OSError:
        return "network"
    writer.transport.abort()
    return None


async def check(request: web.Request) -> web.Response:
    """Handler of /check; 400 for a bad question, 503 when too many are being answered."""
    try:
        host = request.query["host"]
        port = int(request.query["port"])
        timeout = float(request.query.get("timeout", DEFAULT_TIMEOUT))
    except (KeyError, ValueError):
        return _json({"error": "host and port (a number) are required"}, 400)
    if not 1 <= port <= 65535 or not 0 < timeout <= MAX_TIMEOUT or not 0 < len(host) <= _MAX_HOST:
        return _json({"error": f"port must be 1-65535, timeout at most {MAX_TIMEOUT} s"}, 400)
    slots = request.app[_slots]
    if slots.locked():
        return _json({"error": "busy"}, 503)
    async with slots:
        error = await try_connect(host, port, timeout)
    return _json({"reachable": error is None, "error": error})


async def healthz(_: web.Request) -> web.Response:
    """Handler of /healthz."""
    return web.Response(text="ok\n")


def application() -> web.Application:
    """The probe's web application."""
    app = web.Application(client_max_size=1024)
    app[_slots] = asyncio.Semaphore(MAX_CONCURRENT)
    app.router.add_get("/check", check)
    app.router.add_get("/healthz", healthz)
    return app


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
