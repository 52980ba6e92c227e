"""Fixtures of the tests on the real cluster (pods, volumes, packets) that `make test-cluster` brings up."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.kubectl import Kubectl
from tests.support.live import Live

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def live() -> Live:
    """The running cluster; fails loudly (never skips) when there is none."""
    return Live.find(ROOT, os.environ.get("ELINK_CLUSTER", "test"))


@pytest.fixture(scope="session")
def kubectl(live: Live) -> Kubectl:
    """kubectl against the cluster under test, which is never the user's own."""
    return live.kubectl


@pytest.fixture(scope="session")
def trusted(live: Live) -> ssl.SSLContext:
    """A TLS context that trusts the cluster's CA and nothing else."""
    return ssl.create_default_context(cafile=str(live.ca))


@pytest.fixture
def tenant(live: Live, request: pytest.FixtureRequest) -> Iterator[str]:
    """A Shared tenant of this test alone, Ready and served; erased afterwards when the test has not done so."""
    name = "t-" + request.node.name.replace("test_", "").replace("_", "-")[:30].rstrip("-")
    with made_tenant(live, name):
        yield name


@contextmanager
def made_tenant(live: Live, name: str, **spec: object) -> Iterator[None]:
    """A Shared tenant, Ready and served; erased at the end when that has not been done."""
    kubectl = live.kubectl
    kubectl.apply(shared_tenant(name, **spec))
    kubectl.wait_ready("et", name)
    live.wait_served(f"{name}.elink.localhost")
    yield
    if kubectl.items("et", name):
        kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}", "--overwrite")
        kubectl.run("delete", "et", name, "--timeout=180s", timeout=200)


def shared_tenant(name: str, **spec: object) -> str:
    """A small Shared tenant as JSON text."""
    return json.dumps(
        {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "metadata": {"name": name},
            "spec": {
                "plan": "Shared",
                "displayName": f"試験 {name}",
                "masterAccount": {"email": f"master@{name}.example"},
                **spec,
            },
        }
    )
