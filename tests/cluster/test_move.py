"""A tenant moves from a shared server to one of its own, in one piece, and nothing of it stays behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.test_lifecycle import SHARED, digest, plant, plant_file
from tests.cluster.test_restore import ENDED
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SMALL = {"app": {"replicas": 1}, "database": {"mode": "Embedded", "storage": "2Gi"}}
CHANGE = {"spec": {"plan": "Dedicated", "size": SMALL}}
TEXT = "引っ越し 4c1d90"


def ask_for_move(kubectl: Kubectl, tenant: str) -> None:
    """What a person does who wants the tenant on a server of its own."""
    asked = {"metadata": {"annotations": {"elink-lc.com/move": "true"}}, **CHANGE}
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps(asked))


def moved(kubectl: Kubectl, tenant: str, timeout: float) -> tuple[str, dict[str, Any]]:
    """Name and status of the tenant's move, once it has ended, whatever the result."""

    def result() -> tuple[str, dict[str, Any]] | None:
        for one in kubectl.items("er", "-l", f"elink-lc.com/tenant={tenant}"):
            if one["spec"]["mode"] == "Move" and one.get("status", {}).get("phase") in ENDED:
                return one["metadata"]["name"], one["status"]
        return None

    ended = eventually(result, timeout=timeout, what="the move ended")
    assert ended is not None
    return ended


@pytest.mark.timeout(1500)
def test_from_a_shared_server_to_one_of_its_own(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database, host = "t_" + tenant.replace("-", "_"), f"{tenant}.elink.localhost"
    plant(live, database, "引っ越し")
    plant_file(live, tenant, TEXT)
    rows = digest(live, database)
    refused = kubectl.refused("patch", "et", tenant, "--type=merge", "-p", json.dumps(CHANGE))
    assert "elink-lc.com/move" in refused
    ask_for_move(kubectl, tenant)
    move, status = moved(kubectl, tenant, 600)
    assert status["phase"] == "Succeeded", status
    assert (status["sourceServer"], status.get("different", [])) == ("shared-1", [])
    print(f"the customer waited {status['downSeconds']} s of {status['durationSeconds']} s")
    kubectl.wait_ready("et", tenant)
    live.wait_served(host)
    assert kubectl.json("get", "et", tenant)["status"]["server"] == tenant
    assert digest(live, database, tenant) == rows, "to the byte"
    web = live.pod(f"elink-srv-{tenant}", "web")["metadata"]["name"]
    path = f"/var/lib/elink/tenants/{tenant}/planted.txt"
    said = kubectl.exec(f"elink-srv-{tenant}", web, "python3", "-c", f"print(open({path!r}).read())")
    assert said.strip() == TEXT
    # Deleting the record of the move ends the time for which the old data is kept.
    kubectl.run("delete", "er", move, "--timeout=240s", timeout=260)
    left = live.psql("shared-1", "postgres", f"SELECT datname FROM pg_database WHERE datname LIKE '%{database[2:]}%'")
    assert left.strip() == ""
    assert live.psql("shared-1", "elink_registry", f"SELECT name FROM tenant WHERE name = '{tenant}'").strip() == ""
    selector = f"elink-lc.com/tenant={tenant}"
    for kind in ("httproutes", "cronjobs", "secrets"):
        assert kubectl.items(kind, "-n", SHARED, "-l", selector) == [], kind
    assert digest(live, database, tenant) == rows
    assert live.get(host, "/login")[0] == 200
