"""Somebody deletes our CRDs: the API server deletes every object of the kind and asks no policy. It erases nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.test_lifecycle import SHARED, digest, plant
from tests.cluster.test_operations import backup_once
from tests.cluster.test_restore import begin, restore, scratch_databases
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"aozora": "shared-1", "midori": "midori"}
"""Tenants that `make up` made → where they live."""


def definition(kind: str) -> str:
    return f"{kind}.elink-lc.com"


def delete_definition(kubectl: Kubectl, kind: str) -> None:
    """Refused at first, then confirmed."""
    name = definition(kind)
    assert "would delete every object of this kind" in kubectl.refused("delete", "crd", name, "--wait=false")
    kubectl.run("annotate", "crd", name, f"elink-lc.com/confirm-erasure={name}")
    kubectl.run("delete", "crd", name, "--wait=false")


def put_back(kubectl: Kubectl, kind: str) -> None:
    """As `helm upgrade elink-crds` does."""
    eventually(
        lambda: not kubectl.items("crd", definition(kind)), timeout=300, what=f"{kind} goes after the last object"
    )
    kubectl.run("apply", "--server-side", "-f", str(ROOT / "crds" / f"{definition(kind)}.yaml"))
    kubectl.run("wait", "crd", definition(kind), "--for=condition=Established", "--timeout=60s")


def erased(kubectl: Kubectl) -> set[str]:
    """UIDs of the tenants that have a record of their erasure."""
    return {record["spec"]["tenantUid"] for record in kubectl.items("ee")}


def ready_reason(kubectl: Kubectl, tenant: str) -> str:
    conditions = kubectl.json("get", "et", tenant)["status"]["conditions"]
    return str(next(c["reason"] for c in conditions if c["type"] == "Ready"))


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_restore_whose_kind_is_deleted_turns_back(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database = "t_" + tenant.replace("-", "_")
    backup_once(kubectl, tenant, 0)
    plant(live, database, "後")
    rows = digest(live, database)
    begin(kubectl, f"cut-{tenant}", tenant, "InPlace")
    eventually(
        lambda: kubectl.json("get", "et", tenant)["status"]["phase"] == "Restoring", timeout=120, what="in maintenance"
    )
    delete_definition(kubectl, "elinkrestores")
    put_back(kubectl, "elinkrestores")
    kubectl.wait_ready("et", tenant)
    live.wait_served(f"{tenant}.elink.localhost")
    assert digest(live, database) == rows, "the data from before"
    assert scratch_databases(live, tenant) == ""
    drill = restore(kubectl, f"drill-{tenant}", tenant, "Drill")
    assert drill["phase"] == "Succeeded", drill


@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_tenants_whose_kind_is_deleted_are_served_until_somebody_confirms(live: Live, kubectl: Kubectl) -> None:
    rows = {name: digest(live, f"t_{name}", server) for name, server in EXAMPLES.items()}
    uids = {kubectl.json("get", "et", name)["metadata"]["uid"] for name in EXAMPLES}
    delete_definition(kubectl, "elinktenants")
    try:
        for name, server in EXAMPLES.items():
            eventually(lambda n=name: ready_reason(kubectl, n) == "ErasureNotConfirmed", timeout=120, what=name)  # type: ignore[misc]
            assert live.get(f"{name}.elink.localhost", "/login")[0] == 200
            assert digest(live, f"t_{name}", server) == rows[name]
        assert kubectl.items("cronjob", "-n", SHARED, "backup-aozora"), "backups go on"
        assert not uids & erased(kubectl)
    finally:
        for tenant in kubectl.items("et"):
            name = tenant["metadata"]["name"]
            kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}", "--overwrite")
        put_back(kubectl, "elinktenants")
        for path in sorted((ROOT / "examples").glob("*.yaml")):
            kubectl.run("apply", "-f", str(path))
    assert uids <= erased(kubectl)
    for name in EXAMPLES:
        kubectl.wait_ready("et", name, timeout=300)
        live.wait_served(f"{name}.elink.localhost")
