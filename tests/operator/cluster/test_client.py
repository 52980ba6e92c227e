"""The client against a real API server, and against one that fails in every way that we know of."""

import asyncio
import time

import pytest
from elink_operator import naming
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeader,
    TooManyRequests,
    Unavailable,
)
from elink_operator.cluster.kinds import DEPLOYMENT, EVENT, Kind, Obj
from elink_operator.cluster.transport import Limits
from elink_operator.metrics import Metrics

from tests.operator.cluster.conftest import CONFIG_MAP, config_map
from tests.support.apiserver import ApiServer
from tests.support.faultproxy import FaultProxy

pytestmark = pytest.mark.apiserver


async def test_apply_creates_then_changes_nothing(client: Client, namespace: str) -> None:
    first = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    second = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    manager = second["metadata"]["managedFields"][0]
    assert (manager["manager"], manager["operation"]) == (naming.FIELD_MANAGER, "Apply")


async def test_apply_takes_fields_from_others_and_drops_its_own_old_ones(client: Client, namespace: str) -> None:
    await client.apply(CONFIG_MAP, config_map(namespace, "a", {"mine": "1", "old": "1"}))
    await client.patch(CONFIG_MAP, "a", {"data": {"mine": "stolen", "foreign": "x"}}, namespace=namespace)
    result = await client.apply(CONFIG_MAP, config_map(namespace, "a", {"mine": "2"}))
    assert result["data"] == {"mine": "2", "foreign": "x"}


async def test_errors_have_their_own_types(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "missing", namespace)
    with pytest.raises(Invalid):
        await client.apply(DEPLOYMENT, {"metadata": {"name": "bad", "namespace": namespace}, "spec": {}})
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(Conflict):
        await client.create(CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, "a", namespace=namespace, uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIG_MAP, "a", namespace=namespace, uid=made["metadata"]["uid"])
    await client.delete(CONFIG_MAP, "a", namespace=namespace)


async def test_a_failed_json_patch_test_is_a_conflict(client: Client, namespace: str) -> None:
    made = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    change = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/finalizers", "value": [naming.FINALIZER]},
    ]
    held = await client.json_patch(CONFIG_MAP, "a", change, namespace=namespace)
    assert held["metadata"]["finalizers"] == [naming.FINALIZER]
    with pytest.raises(Conflict):
        await client.json_patch(CONFIG_MAP, "a", change, namespace=namespace)


async def test_a_stale_status_patch_is_a_conflict(client: Client, namespace: str, proxy: FaultProxy) -> None:
    made = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    old = made["metadata"]["resourceVersion"]
    await client.apply(CONFIG_MAP, config_map(namespace, "a", {"key": "new"}))
    proxy.seen.clear()
    body: Obj = {"metadata": {"resourceVersion": old}, "data": {"key": "stale"}}
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAP, "a", body, namespace=namespace)
    assert proxy.count("PATCH") == 1, "a conflict must never be repeated blindly"


async def test_a_user_without_rights_is_forbidden(apiserver: ApiServer, proxy: FaultProxy, namespace: str) -> None:
    connection = Connection(proxy.url, None, lambda: apiserver.user_token)
    async with Client(connection, Metrics()) as client:
        with pytest.raises(Forbidden) as caught:
            await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    assert caught.value.code == 403
    assert proxy.count("PATCH", "/configmaps/a") == 1


async def test_lists_come_in_pages(connection: Connection, namespace: str, proxy: FaultProxy) -> None:
    async with Client(connection, Metrics(), Limits(page=2)) as client:
        for number in range(5):
            await client.apply(CONFIG_MAP, config_map(namespace, f"m{number}"))
        items, version = await client.list(CONFIG_MAP, namespace=namespace)
    assert [item["metadata"]["name"] for item in items] == [f"m{number}" for number in range(5)]
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)
    assert proxy.count("GET", "limit=2") == 3


async def test_429_is_waited_out_and_slows_writes_down(
    client: Client, namespace: str, proxy: FaultProxy, metrics: Metrics
) -> None:
    proxy.fail(429, method="PATCH", retry_after=1, times=1)
    started = time.monotonic()
    await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    assert time.monotonic() - started >= 1
    assert metrics.registry.get_sample_value("elink_api_write_rate") < Limits().writes_per_second  # type: ignore[operator]
    assert proxy.count("PATCH") == 1


async def test_retry_after_reaches_the_caller(client: Client, namespace: str, proxy: FaultProxy) -> None:
    proxy.fail(429, method="GET", retry_after=7)
    with pytest.raises(TooManyRequests) as caught:
        await client.get_once(CONFIG_MAP, "a", namespace, timeout=5)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("fault", ["500", "503", "drop", "lose"])
async def test_passing_failures_are_repeated(client: Client, namespace: str, proxy: FaultProxy, fault: str) -> None:
    if fault == "drop":
        proxy.drop(method="PATCH", times=2)
    elif fault == "lose":
        proxy.lose(method="PATCH", times=2)
    else:
        proxy.fail(int(fault), method="PATCH", times=2)
    made = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    assert made["data"] == {"key": "value"}


async def test_lasting_failures_are_bounded(client: Client, namespace: str, proxy: FaultProxy) -> None:
    fault = proxy.fail(500, method="PATCH")
    with pytest.raises(Unavailable):
        await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    assert fault.hits == 4


async def test_a_slow_server_times_out(connection: Connection, namespace: str, proxy: FaultProxy) -> None:
    proxy.delay(5, method="GET")
    async with Client(connection, Metrics(), Limits(timeout=0.3)) as client:
        with pytest.raises(Unavailable):
            await client.get_once(CONFIG_MAP, "a", namespace, timeout=0.3)


async def test_who_does_not_lead_sends_no_write(client: Client, namespace: str, proxy: FaultProxy) -> None:
    client.may_write = lambda: False
    writes = [
        client.apply(CONFIG_MAP, config_map(namespace, "a")),
        client.create(CONFIG_MAP, config_map(namespace, "a")),
        client.patch(CONFIG_MAP, "a", {}, namespace=namespace),
        client.patch_status(CONFIG_MAP, "a", {}, namespace=namespace),
        client.json_patch(CONFIG_MAP, "a", [], namespace=namespace),
        client.delete(CONFIG_MAP, "a", namespace=namespace),
    ]
    for write in writes:
        with pytest.raises(NotLeader):
            await write
    assert proxy.writes() == []
    items, _ = await client.list(CONFIG_MAP, namespace=namespace)
    assert items == []


async def test_a_write_that_waits_for_a_retry_is_fenced_again(
    client: Client, namespace: str, proxy: FaultProxy
) -> None:
    leading = iter([True, False])
    client.may_write = lambda: next(leading)
    proxy.fail(500, method="PATCH")
    with pytest.raises(NotLeader):
        await client.apply(CONFIG_MAP, config_map(namespace, "a"))


async def test_every_answer_to_a_write_is_reported(client: Client, namespace: str) -> None:
    seen: list[tuple[Kind, str]] = []
    client.on_written = lambda kind, obj: seen.append((kind, obj["metadata"]["name"]))
    await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    await client.get(CONFIG_MAP, "a", namespace)
    await client.patch(CONFIG_MAP, "a", {"data": {"x": "y"}}, namespace=namespace)
    assert seen == [(CONFIG_MAP, "a"), (CONFIG_MAP, "a")]


async def test_watch_delivers_objects_larger_than_a_read_buffer(client: Client, namespace: str) -> None:
    _, version = await client.list(CONFIG_MAP, namespace=namespace)
    await client.apply(CONFIG_MAP, config_map(namespace, "big", {"blob": "x" * 300_000}))
    watch = client.watch(CONFIG_MAP, version=version, label_selector=None, timeout=10, silence=10)
    async for event in watch:
        if event["object"]["metadata"]["name"] == "big":
            assert len(event["object"]["data"]["blob"]) == 300_000
            break
    await watch.aclose()


async def test_a_silent_watch_is_noticed(client: Client, namespace: str) -> None:
    _, version = await client.list(CONFIG_MAP, namespace=namespace)
    with pytest.raises(Unavailable) as caught:
        async for _ in client.watch(CONFIG_MAP, version=version, label_selector="nobody=here", timeout=30, silence=0.5):
            pass
    assert caught.value.reason == "Silent"


async def test_latency_is_told_apart_by_the_class_of_the_answer(
    client: Client, namespace: str, proxy: FaultProxy, metrics: Metrics
) -> None:
    def seen(verb: str, code: str) -> float:
        name = "rest_client_request_duration_seconds_count"
        return metrics.registry.get_sample_value(name, {"verb": verb, "code": code}) or 0

    await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "nothing", namespace)
    assert (seen("get", "2xx"), seen("get", "4xx")) == (0, 1)
    proxy.fail(503, method="GET", times=1)
    await client.get(CONFIG_MAP, "a", namespace)
    assert (seen("get", "2xx"), seen("get", "5xx"), seen("get", "0")) == (1, 1, 0)
    # Twice: aiohttp itself asks again once when a kept connection turns out to be dead.
    proxy.drop(method="GET", times=2)
    await client.get(CONFIG_MAP, "a", namespace)
    assert (seen("get", "2xx"), seen("get", "5xx"), seen("get", "0")) == (2, 1, 1)


async def test_events_are_posted_once(client: Client, namespace: str, metrics: Metrics) -> None:
    regarding = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    regarding |= {"apiVersion": "v1", "kind": "ConfigMap"}
    for _ in range(3):
        await client.event(regarding, type_="Warning", reason="Waiting", message="because of a test")
    await client.event(regarding, type_="Warning", reason="Waiting", message="because of another")
    events, _ = await client.list(EVENT, namespace=namespace)
    assert sorted(event["message"] for event in events) == ["because of a test", "because of another"]
    assert {event["involvedObject"]["uid"] for event in events} == {regarding["metadata"]["uid"]}
    assert metrics.registry.get_sample_value("elink_events_total", {"result": "duplicate"}) == 2


async def test_an_event_that_cannot_be_posted_fails_nobody(client: Client, namespace: str, proxy: FaultProxy) -> None:
    regarding = await client.apply(CONFIG_MAP, config_map(namespace, "a"))
    regarding |= {"apiVersion": "v1", "kind": "ConfigMap"}
    proxy.fail(500, path="/events", times=1)
    await client.event(regarding, type_="Normal", reason="Test", message="lost")
    await client.event(regarding, type_="Normal", reason="Test", message="lost")
    events, _ = await client.list(EVENT, namespace=namespace)
    assert [event["message"] for event in events] == ["lost"]


async def test_writes_keep_to_the_rate(connection: Connection, namespace: str) -> None:
    async with Client(connection, Metrics(), Limits(writes_per_second=20, write_burst=1)) as client:
        started = time.monotonic()
        await asyncio.gather(*(client.apply(CONFIG_MAP, config_map(namespace, f"m{n}")) for n in range(11)))
        assert time.monotonic() - started >= 0.5
