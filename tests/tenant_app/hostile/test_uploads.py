"""Uploads of 100 MB and more, to the real server process: refused before they are read, and never held whole."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

pytestmark = pytest.mark.postgres

_MEGABYTE = 1 << 20
_SECONDS = 120


def start(world: World, web_port: int, ops_port: int) -> subprocess.Popen[bytes]:
    """`elink-app web` as it runs in a pod."""
    settings = world.server.settings
    given = {
        "DB_HOST": settings.db_host, "DB_PORT": settings.db_port, "DB_PASSWORD_FILE": settings.db_password_file,
        "FILES_DIR": settings.files_dir, "LISTEN_HOST": "127.0.0.1", "WEB_PORT": web_port, "OPS_PORT": ops_port,
        "DRAIN_SECONDS": 0,
    }  # fmt: skip
    environment = {**os.environ, **{f"ELINK_{name}": str(value) for name, value in given.items()}}
    return subprocess.Popen(
        [sys.executable, "-m", "elink_app", "web"],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )


async def ready(process: subprocess.Popen[bytes], ops_port: int) -> None:
    """Wait until it serves."""
    async with httpx.AsyncClient() as client:
        for _ in range(_SECONDS * 5):
            try:
                if (await client.get(f"http://127.0.0.1:{ops_port}/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert process.poll() is None
            await asyncio.sleep(0.2)
    pytest.fail("the server did not become ready")


def most_memory(process: subprocess.Popen[bytes]) -> int:
    """The highest resident memory so far, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


async def megabytes(count: int, line: bytes = b"a,b,c\r\n") -> AsyncIterator[bytes]:
    piece = line * (_MEGABYTE // len(line))
    for _ in range(count):
        yield piece


async def form_of_megabytes(count: int) -> AsyncIterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n'
    async for piece in megabytes(count):
        yield piece


async def test_large_bodies_are_refused_early_and_never_held(world: World) -> None:
    tenant = await world.tenant()
    ports = free_port(), free_port()
    process = start(world, *ports)
    try:
        await ready(process, ports[1])
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ports[0]}", headers={"Host": tenant.host, **ORIGIN_HEADERS}, timeout=_SECONDS
        )
        async with client:
            # Cookies bear __Host- and Secure: this client has to be told to send them over plain HTTP.
            over_tls = await world.master(tenant)
            cookies = "; ".join(f"{one.name}={one.value}" for one in over_tls.client.cookies.jar)
            token = (await over_tls.get("/api/v1/session")).json()["csrf_token"]
            headers = {"Cookie": cookies, "X-CSRF-Token": token}
            await check(client, headers, process)
            assert (await Browser(client, tenant.host).get("/login")).status_code == 200
    finally:
        process.terminate()
        process.wait(_SECONDS)


async def status_by_head(port: int, path: str, headers: dict[str, str]) -> int:
    """The status of the answer to a POST of which nothing but the head is ever sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(_SECONDS):
        first = await reader.readline()
    writer.close()
    return int(first.split()[1])


async def check(client: httpx.AsyncClient, headers: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    before = most_memory(process)
    # Said to be too large: the answer comes before the body.
    for path in (
        "/api/v1/addresses",
        "/templates/images",
        "/utilities/suppress",
        "/login",
        "/api/v1/images",
        "/deliveries/1/attachments",
        "/api/v1/deliveries/1/attachments",
        "/nowhere",
    ):
        head = {**client.headers, **headers, "Content-Length": str(100 * _MEGABYTE)}
        assert (path, await status_by_head(client.base_url.port or 0, path, head)) == (path, 413)
    # Not said: cut off where the limit is. The answer may be lost when the server closes first.
    made = await client.post("/api/v1/deliveries", headers=headers, json={"name": "x", "category": "notice"})
    attachments = f"/api/v1/deliveries/{made.json()['id']}/attachments"
    for path in ("/api/v1/addresses", "/api/v1/images", attachments, "/login"):
        kind = {"Content-Type": "multipart/form-data; boundary=b"} if path == attachments else {}
        try:
            answer = await client.post(path, headers={**headers, **kind}, content=form_of_megabytes(100))
        except httpx.TransportError:
            continue
        # A form of no kind is not even read.
        assert (path, answer.status_code) == (path, 415 if path == "/login" else 413)
    upload = {**headers, "Content-Type": "application/octet-stream"}
    try:
        answer = await client.post("/api/v1/imports?name=x.csv", headers=upload, content=megabytes(101))
        assert answer.status_code == 413
    except httpx.TransportError:
        pass
    # As large as may be: taken, in pieces.
    taken = await client.post("/api/v1/imports?name=x.csv", headers=upload, content=megabytes(99))
    assert taken.status_code == 201, taken.text
    assert most_memory(process) - before < 60 * _MEGABYTE
