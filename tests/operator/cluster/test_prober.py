"""The isolation probe over real sockets, and the client that draws conclusions from it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from elink_operator import isolation_probe
from elink_operator.cluster.prober import Prober

from tests.support.ports import free_port


@pytest.fixture
async def listener() -> AsyncIterator[int]:
    """A port that accepts connections."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def start(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def probe() -> AsyncIterator[str]:
    runner, url = await start(isolation_probe.application())
    yield url
    await runner.cleanup()


async def test_reached_and_not_reached(probe: str, listener: int) -> None:
    async with Prober(probe, ("127.0.0.1", listener), connect_timeout=5) as prober:
        assert await prober.reachable("127.0.0.1", listener) is True
        assert await prober.reachable("127.0.0.1", free_port()) is False


async def test_without_a_working_control_nothing_is_known(probe: str, listener: int) -> None:
    async with Prober(probe, ("127.0.0.1", free_port()), connect_timeout=5) as prober:
        assert await prober.reachable("127.0.0.1", free_port()) is None
        assert await prober.reachable("127.0.0.1", listener) is True


async def test_a_name_that_does_not_resolve_proves_nothing(probe: str, listener: int) -> None:
    async with Prober(probe, ("127.0.0.1", listener), connect_timeout=5) as prober:
        assert await prober.reachable("does-not-exist.invalid", 80) is None


async def test_a_probe_that_is_down_proves_nothing(listener: int) -> None:
    async with Prober(f"http://127.0.0.1:{free_port()}", ("127.0.0.1", listener)) as prober:
        assert await prober.reachable("127.0.0.1", listener) is None


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"reachable": "no"}', '{"reachable": 0}'])
async def test_an_answer_that_makes_no_sense_proves_nothing(body: str, listener: int) -> None:
    async def nonsense(_: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/check", nonsense)
    runner, url = await start(app)
    async with Prober(url, ("127.0.0.1", listener)) as prober:
        assert await prober.reachable("127.0.0.1", listener) is None
    await runner.cleanup()


async def ask(url: str, **query: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/check", params=query) as response:
        return response.status, await response.json()


async def test_answers_of_the_probe(probe: str, listener: int) -> None:
    assert await ask(probe, host="127.0.0.1", port=str(listener)) == (200, {"reachable": True, "error": None})
    assert await ask(probe, host="127.0.0.1", port=str(free_port())) == (200, {"reachable": False, "error": "refused"})
    status, answer = await ask(probe, host="192.0.2.1", port="80", timeout="0.3")
    assert (status, answer["reachable"]) == (200, False)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"host": "a"},
        {"host": "a", "port": "x"},
        {"host": "a", "port": "0"},
        {"host": "a", "port": "65536"},
        {"host": "a", "port": "80", "timeout": "60"},
        {"host": "a", "port": "80", "timeout": "0"},
        {"host": "a", "port": "80", "timeout": "nan"},
        {"host": "", "port": "80"},
        {"host": "a" * 300, "port": "80"},
    ],
)
async def test_bad_questions_are_refused(probe: str, query: dict[str, str]) -> None:
    assert (await ask(probe, **query))[0] == 400


async def test_only_so_many_questions_at_once(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = asyncio.Event()

    async def slow(host: str, port: int, timeout: float) -> str | None:
        await release.wait()
        return None

    patched: Callable[[str, int, float], Awaitable[str | None]] = slow
    monkeypatch.setattr(isolation_probe, "try_connect", patched)
    asked = [asyncio.create_task(ask(probe, host="a", port="1")) for _ in range(isolation_probe.MAX_CONCURRENT + 4)]
    async with asyncio.timeout(60):
        while sum(task.done() for task in asked) < 4:  # noqa: ASYNC110 - no event tells of the fourth
            await asyncio.sleep(0.02)
    release.set()
    statuses = [(await task)[0] for task in asked]
    assert statuses.count(503) == 4
