"""The informer against a real API server whose connection breaks: nothing is lost, deletions least of all."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from elink_operator import labels
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.informer import Informer, WatchTimes
from elink_operator.cluster.kinds import HTTP_ROUTE, NAMESPACE, Kind, Obj
from elink_operator.cluster.store import Store
from elink_operator.cluster.transport import Limits
from elink_operator.metrics import Metrics

from tests.operator.cluster.conftest import CONFIG_MAP, config_map
from tests.support.apiserver import ApiServer, running
from tests.support.faultproxy import FaultProxy

pytestmark = pytest.mark.apiserver


class Recorder:
    """What the informer reported, by object name."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bool]] = []

    def __call__(self, kind: Kind, obj: Obj, deleted: bool) -> None:
        self.changes.append((obj["metadata"]["name"], deleted))


async def until(check: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 60)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def informer(client: Client, store: Store, seen: Recorder, metrics: Metrics, namespace: str) -> Informer:
    return Informer(client, CONFIG_MAP, store, seen, metrics, label_selector=f"{labels.SERVER}={namespace}")


def mine(namespace: str, name: str, data: dict[str, str] | None = None) -> Obj:
    return config_map(namespace, name, data, **{labels.SERVER: namespace})


async def test_lists_then_follows(
    informer: Informer, client: Client, store: Store, seen: Recorder, namespace: str
) -> None:
    await client.apply(CONFIG_MAP, mine(namespace, "before"))
    await client.apply(CONFIG_MAP, config_map(namespace, "not-selected"))
    async with watching(informer):
        assert store.get(CONFIG_MAP, namespace, "before") is not None
        assert store.get(CONFIG_MAP, namespace, "not-selected") is None
        await client.apply(CONFIG_MAP, mine(namespace, "after"))
        await until(lambda: ("after", False) in seen.changes)
        await client.apply(CONFIG_MAP, mine(namespace, "after", {"key": "changed"}))
        await until(lambda: seen.changes.count(("after", False)) == 2)
        await client.delete(CONFIG_MAP, "after", namespace=namespace)
        await until(lambda: ("after", True) in seen.changes)
        assert store.get(CONFIG_MAP, namespace, "after") is None


async def test_a_cut_watch_goes_on_without_a_list(
    informer: Informer, client: Client, seen: Recorder, namespace: str, proxy: FaultProxy
) -> None:
    async with watching(informer):
        await until(lambda: proxy.open_watches == 1)
        lists = proxy.count("GET", "configmaps.limit=")
        assert proxy.cut_watches() == 1
        await client.apply(CONFIG_MAP, mine(namespace, "while-cut"))
        await until(lambda: ("while-cut", False) in seen.changes)
        assert proxy.count("GET", "configmaps.limit=") == lists


async def test_a_stream_that_is_cut_inside_an_object_is_no_loss(
    informer: Informer, client: Client, store: Store, namespace: str, proxy: FaultProxy
) -> None:
    async with watching(informer):
        for number in range(20):
            await client.apply(CONFIG_MAP, mine(namespace, f"m{number}", {"blob": "x" * 50_000}))
            proxy.cut_watches()
        await until(lambda: len(store.by_server(namespace)) == 20)


async def test_an_outage_is_waited_out_and_deletions_in_it_are_found(
    informer: Informer,
    client: Client,
    store: Store,
    seen: Recorder,
    namespace: str,
    proxy: FaultProxy,
    apiserver: ApiServer,
) -> None:
    await client.apply(CONFIG_MAP, mine(namespace, "doomed"))
    async with watching(informer):
        async with proxy.outage():
            path = f"/api/v1/namespaces/{namespace}/configmaps/doomed"
            assert (await asyncio.to_thread(apiserver.request, "DELETE", path))[0] == 200
            await asyncio.sleep(1)
        await until(lambda: ("doomed", True) in seen.changes)
        assert store.get(CONFIG_MAP, namespace, "doomed") is None


async def test_an_error_410_leads_to_a_list(
    informer: Informer, client: Client, seen: Recorder, namespace: str, proxy: FaultProxy
) -> None:
    async with watching(informer):
        await until(lambda: proxy.open_watches == 1)
        lists = proxy.count("GET", "configmaps.limit=")
        proxy.expire(path="configmaps")
        proxy.cut_watches()
        await until(lambda: proxy.count("GET", "configmaps.limit=") == lists + 1)
        await client.apply(CONFIG_MAP, mine(namespace, "later"))
        await until(lambda: ("later", False) in seen.changes)


@pytest.mark.parametrize("status", [500, 429, 403])
async def test_errors_of_list_and_watch_are_waited_out(
    informer: Informer, client: Client, seen: Recorder, namespace: str, proxy: FaultProxy, status: int
) -> None:
    proxy.fail(status, method="GET", path="configmaps", times=5)
    task = asyncio.create_task(informer.run())
    await client.apply(CONFIG_MAP, mine(namespace, "there"))
    await until(lambda: ("there", False) in seen.changes)
    task.cancel()
    await asyncio.wait([task])


async def test_a_silent_watch_is_replaced(
    client: Client, store: Store, seen: Recorder, metrics: Metrics, namespace: str, proxy: FaultProxy
) -> None:
    selector = f"{labels.SERVER}={namespace}"
    times = WatchTimes(timeout=300, silence=0.5)
    informer = Informer(client, CONFIG_MAP, store, seen, metrics, label_selector=selector, times=times)
    async with watching(informer):
        restarted = {"kind": "ConfigMap", "cause": "silent"}
        await until(lambda: (metrics.registry.get_sample_value("elink_watch_restarts_total", restarted) or 0) >= 1)
        await client.apply(CONFIG_MAP, mine(namespace, "later"))
        await until(lambda: ("later", False) in seen.changes)


async def test_a_kind_that_the_cluster_does_not_serve_hurts_nobody(
    client: Client, store: Store, seen: Recorder, metrics: Metrics, proxy: FaultProxy
) -> None:
    informer = Informer(client, HTTP_ROUTE, store, seen, metrics)
    async with watching(informer):
        assert informer.missing
        assert metrics.registry.get_sample_value("elink_api_missing", {"kind": "HTTPRoute"}) == 1
        await asyncio.sleep(0.5)
        assert proxy.count("GET", "httproutes") == 1, "it is asked for again, but not in a hurry"


async def test_an_own_write_is_not_reported(
    informer: Informer, client: Client, store: Store, seen: Recorder, namespace: str, proxy: FaultProxy
) -> None:
    def cache(kind: Kind, obj: Obj) -> None:
        store.wrote(kind, obj)

    client.on_written = cache
    async with watching(informer):
        await until(lambda: proxy.open_watches == 1)
        # The echo may overtake the answer to the write (then it costs one look more): here it comes later.
        blind = proxy.fail(503, path="watch=1")
        proxy.cut_watches()
        await client.apply(CONFIG_MAP, mine(namespace, "own"))
        assert store.get(CONFIG_MAP, namespace, "own") is not None
        await client.patch(CONFIG_MAP, "own", {"data": {"key": "own, too"}}, namespace=namespace)
        client.on_written = lambda kind, obj: None
        await client.patch(CONFIG_MAP, "own", {"data": {"key": "foreign"}}, namespace=namespace)
        blind.times = 0
        await until(lambda: ("own", False) in seen.changes)
        await asyncio.sleep(0.3)
        assert seen.changes == [("own", False)]


async def test_a_real_410_after_the_server_lost_its_history(tmp_path: Path, metrics: Metrics) -> None:
    """Deletion during an outage in which the server restarts: its watch cache starts anew, so it answers 410."""
    with running(tmp_path / "server") as server:
        async with FaultProxy(server.url, server.ca) as proxy:
            connection = Connection(proxy.url, None, lambda: server.admin_token)
            async with Client(connection, metrics, Limits(page=2)) as client:
                await client.apply(NAMESPACE, {"metadata": {"name": "n"}})
                for name in ("a", "b", "c", "d", "e"):
                    await client.apply(CONFIG_MAP, mine("n", name))
                store, seen = Store(), Recorder()
                informer = Informer(client, CONFIG_MAP, store, seen, metrics, label_selector=f"{labels.SERVER}=n")
                async with watching(informer):
                    await until(lambda: proxy.open_watches == 1)
                    seen.changes.clear()
                    async with proxy.outage():
                        for name in ("b", "d"):
                            path = f"/api/v1/namespaces/n/configmaps/{name}"
                            await asyncio.to_thread(server.request, "DELETE", path)
                        server.kill()
                        await asyncio.to_thread(server.start)
                    await until(lambda: len(seen.changes) >= 2)
                    assert sorted(seen.changes) == [("b", True), ("d", True)]
                    expired = {"kind": "ConfigMap", "cause": "expired"}
                    assert metrics.registry.get_sample_value("elink_watch_restarts_total", expired) == 1
                    assert sorted(store.names(CONFIG_MAP)) == ["a", "c", "e"]
