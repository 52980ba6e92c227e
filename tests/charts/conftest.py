"""An API server with the chart on it. No pods run: there is neither kubelet nor controller manager."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.charts import helm
from tests.charts.helm import CHART, NAMESPACE, Obj
from tests.support.apiserver import ApiServer, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of its own: the chart's cluster-wide objects would disturb other tests."""
    with running(tmp_path_factory.mktemp("charts-apiserver")) as started:
        started.install_crds()
        started.install_gateway()
        for name in (NAMESPACE, "elink-gateway"):
            started.kubectl.run("create", "namespace", name)
            # There is no controller manager that would make it.
            started.kubectl.run("create", "serviceaccount", "default", "-n", name)
        yield started


def install(server: ApiServer, chart_values: Obj) -> None:
    helm.run(
        "upgrade", "--install", "elink", str(CHART), "-n", NAMESPACE, "--set-json", json.dumps(chart_values),
        "--wait=false", kubeconfig=server.kubeconfig,
    )  # fmt: skip


@pytest.fixture(scope="module")
def installed(server: ApiServer) -> ApiServer:
    install(server, {})
    return server
