"""The operator reaches the object store where it is, and mounts its log-in; it is told of none by default."""

from __future__ import annotations

from typing import Any

import pytest
from elink_operator.desired.networkpolicy import ANYWHERE

from tests.charts import helm


def rendered(s3: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Egress rules of the operator and the Secrets that it mounts."""
    objects = helm.template({"backup": {"store": "S3", "s3": s3}} if s3 else {})
    (policy,) = [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "elink-operator"]
    pod = dict(helm.pods(objects))["elink-operator"]
    mounted = [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v]
    return policy["spec"]["egress"], mounted


@pytest.mark.parametrize(
    ("s3", "peers", "port"),
    [
        (
            {"endpoint": "http://store.elink-backup-store.svc:7070"},
            [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elink-backup-store"}}}],
            7070,
        ),
        ({"endpoint": "http://10.1.2.3"}, [{"ipBlock": {"cidr": "10.1.2.3/32"}}], 80),
        ({"endpoint": "https://s3.example.jp"}, [*ANYWHERE], 443),
    ],
)
def test_the_operator_reaches_the_store(s3: dict[str, Any], peers: list[dict[str, Any]], port: int) -> None:
    egress, mounted = rendered(s3)
    assert {"to": peers, "ports": [{"port": port, "protocol": "TCP"}]} in egress
    assert "elink-backup-store" in mounted


def test_without_a_store_nothing_is_mounted() -> None:
    _, mounted = rendered({})
    assert "elink-backup-store" not in mounted
