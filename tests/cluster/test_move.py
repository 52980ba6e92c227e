"""A tenant moves from a shared server to one of its own, in one piece, and nothing of it stays behind."""

from __future__ import annotations

import json

import pytest

from tests.cluster.test_lifecycle import SHARED, digest, plant, plant_file
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SMALL = {"app": {"replicas": 1}, "database": {"mode": "Embedded", "storage": "2Gi"}}
TEXT = "引っ越し 4c1d90"


@pytest.mark.timeout(1500)
def test_from_a_shared_server_to_one_of_its_own(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database, host = "t_" + tenant.replace("-", "_"), f"{tenant}.elink.localhost"
    plant(live, database, "引っ越し")
    plant_file(live, tenant, TEXT)
    rows = digest(live, database)
    change = {"spec": {"plan": "Dedicated", "size": SMALL}}
    refused = kubectl.refused("patch", "et", tenant, "--type=merge", "-p", json.dumps(change))
    assert "elink-lc.com/move" in refused
    asked = {"metadata": {"annotations": {"elink-lc.com/move": "true"}}, **change}
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps(asked))

    def result() -> dict[str, object] | None:
        found = kubectl.items("er", "-l", f"elink-lc.com/tenant={tenant}")
        status = found[0].get("status", {}) if found else {}
        return status if status.get("phase") in {"Succeeded", "Failed", "RolledBack"} else None

    status = dict(eventually(result, timeout=600, what="the move ended"))
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
    move = kubectl.items("er", "-l", f"elink-lc.com/tenant={tenant}")[0]["metadata"]["name"]
    kubectl.run("delete", "er", move, "--timeout=240s", timeout=260)
    left = live.psql("shared-1", "postgres", f"SELECT datname FROM pg_database WHERE datname LIKE '%{database[2:]}%'")
    assert left.strip() == ""
    assert live.psql("shared-1", "elink_registry", f"SELECT name FROM tenant WHERE name = '{tenant}'").strip() == ""
    selector = f"elink-lc.com/tenant={tenant}"
    for kind in ("httproutes", "cronjobs", "secrets"):
        assert kubectl.items(kind, "-n", SHARED, "-l", selector) == [], kind
    assert digest(live, database, tenant) == rows
    assert live.get(host, "/login")[0] == 200
