"""A client that reaches the real API server through the fault proxy, and a namespace of its own for each test."""

import secrets
from collections.abc import AsyncIterator

import pytest
from elink_operator import labels
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.kinds import NAMESPACE, Kind, Obj
from elink_operator.metrics import Metrics

from tests.support.apiserver import ApiServer
from tests.support.faultproxy import FaultProxy

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
"""Not a kind of the operator's: nothing else writes it here."""


@pytest.fixture
async def proxy(apiserver: ApiServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(apiserver.url, apiserver.ca) as running:
        yield running


@pytest.fixture
def connection(apiserver: ApiServer, proxy: FaultProxy) -> Connection:
    return Connection(proxy.url, None, lambda: apiserver.admin_token)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(connection: Connection, metrics: Metrics) -> AsyncIterator[Client]:
    async with Client(connection, metrics) as made:
        yield made


@pytest.fixture
async def namespace(client: Client, proxy: FaultProxy) -> str:
    name = f"t-{secrets.token_hex(4)}"
    await client.apply(NAMESPACE, {"metadata": {"name": name}})
    proxy.seen.clear()
    return name


def config_map(namespace: str, name: str, data: dict[str, str] | None = None, **marks: str) -> Obj:
    """A desired ConfigMap with the operator's label."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, **marks},
        },
        "data": data or {"key": "value"},
    }
