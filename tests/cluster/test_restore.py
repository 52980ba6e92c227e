"""Restores on the real cluster: a tenant is drilled, loses database and directory, comes back to the byte, copied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.test_lifecycle import SHARED, digest, files_of, plant, plant_file
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

ENDED = {"Succeeded", "Failed", "RolledBack"}
REMOVE = "import shutil, sys; shutil.rmtree(f'/var/lib/elink/tenants/{sys.argv[1]}')"


def begin(kubectl: Kubectl, name: str, tenant: str, mode: str, **spec: Any) -> None:
    """Make a restore."""
    marks = {"elink-lc.com/confirm-restore": tenant} if mode == "InPlace" else {}
    body = {
        "apiVersion": "elink-lc.com/v1",
        "kind": "ElinkRestore",
        "metadata": {"name": name, "annotations": marks},
        "spec": {"tenant": tenant, "mode": mode, **spec},
    }
    kubectl.apply(json.dumps(body))


def restore(kubectl: Kubectl, name: str, tenant: str, mode: str, **spec: Any) -> dict[str, Any]:
    """Make a restore and wait for its result; its status."""
    begin(kubectl, name, tenant, mode, **spec)

    def result() -> dict[str, Any] | None:
        status: dict[str, Any] = kubectl.json("get", "er", name).get("status", {})
        return status if status.get("phase") in ENDED else None

    return dict(eventually(result, timeout=300, what=f"restore {name} ended"))


def scratch_databases(live: Live, tenant: str) -> str:
    """Databases of the shared server into which something of the tenant was restored; other tests have theirs."""
    name = tenant.replace("-", "_")
    return live.psql("shared-1", "postgres", f"SELECT datname FROM pg_database WHERE datname ~ '^r_.*{name}'").strip()


def without_hash_paths(found: list[str]) -> dict[str, str]:
    """Path below the tenant's directory → SHA-256."""
    return {line.split()[1].partition("/tenants/")[2].partition("/")[2]: line.split()[0]
            for line in found if "/files/tenants/" in line}  # fmt: skip


@pytest.mark.alone  # a database that is destroyed by hand stops every erasure on its server
@pytest.mark.timeout(1200)
def test_lost_and_brought_back_to_the_byte(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database = "t_" + tenant.replace("-", "_")
    for number in range(3):
        plant(live, database, f"山田 {number}")
    plant_file(live, tenant, "内容 7f3a91")
    rows, files = digest(live, database), without_hash_paths(files_of(live, tenant))
    assert files
    kubectl.run("create", "job", "-n", SHARED, f"keep-{tenant}", f"--from=cronjob/backup-{tenant}")
    kubectl.run("wait", "-n", SHARED, f"job/keep-{tenant}", "--for=condition=Complete", "--timeout=180s")

    drill = restore(kubectl, f"drill-{tenant}", tenant, "Drill")
    assert (drill["phase"], drill.get("different", [])) == ("Succeeded", []), drill
    assert drill["files"] == len(files)
    proof = kubectl.json("get", "et", tenant)["status"]["restoreDrill"]
    assert (proof["result"], proof["generation"]) == ("Succeeded", drill["generation"])
    assert digest(live, database) == rows, "a drill touches nothing"

    live.psql("shared-1", "postgres", f'DROP DATABASE "{database}" WITH (FORCE)')
    web = live.pod(SHARED, "web")["metadata"]["name"]
    kubectl.exec(SHARED, web, "python3", "-c", REMOVE, tenant)
    eventually(
        lambda: any(c["reason"] == "DatabaseLost" for c in kubectl.json("get", "et", tenant)["status"]["conditions"]),
        timeout=180,
        what="DatabaseLost",
    )

    # By its name: a backup of the night, of what is lost, would be the newest.
    back = restore(kubectl, f"back-{tenant}", tenant, "InPlace", generation=drill["generation"])
    assert back["phase"] == "Succeeded", back
    assert back["safetyBackup"] == "none: the database is lost"
    kubectl.wait_ready("et", tenant)
    live.wait_served(f"{tenant}.elink.localhost")
    assert without_hash_paths(files_of(live, tenant)) == files
    assert digest(live, database) == rows
    found = scratch_databases(live, tenant)
    assert found == "", "no scratch database is left"


@pytest.mark.timeout(1200)
def test_in_place_replaces_live_data_after_a_backup_of_it(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database, host = "t_" + tenant.replace("-", "_"), f"{tenant}.elink.localhost"
    plant(live, database, "前")
    kubectl.run("create", "job", "-n", SHARED, f"keep-{tenant}", f"--from=cronjob/backup-{tenant}")
    kubectl.run("wait", "-n", SHARED, f"job/keep-{tenant}", "--for=condition=Complete", "--timeout=180s")
    rows = digest(live, database)
    wanted = eventually(
        lambda: kubectl.json("get", "et", tenant)["status"].get("backup", {}).get("newest"), timeout=60, what="newest"
    )
    generation = str(wanted).replace("-", "").replace(":", "")
    plant(live, database, "後")
    changed = digest(live, database)
    refused = kubectl.refused("create", "-f", "-", stdin=json.dumps({
        "apiVersion": "elink-lc.com/v1", "kind": "ElinkRestore", "metadata": {"name": f"no-{tenant}"},
        "spec": {"tenant": tenant, "mode": "InPlace"},
    }))  # fmt: skip
    assert "confirm-restore" in refused
    back = restore(kubectl, f"live-{tenant}", tenant, "InPlace", generation=generation)
    assert back["phase"] == "Succeeded", back
    kubectl.wait_ready("et", tenant)
    live.wait_served(host)
    assert digest(live, database) == rows
    again = restore(kubectl, f"again-{tenant}", tenant, "InPlace", generation=back["safetyBackup"])
    assert again["phase"] == "Succeeded", again
    kubectl.wait_ready("et", tenant)
    assert digest(live, database) == changed, "the safety backup is the way back"


@pytest.mark.timeout(1200)
def test_a_copy_under_another_name(live: Live, kubectl: Kubectl, tenant: str) -> None:
    database, copy = "t_" + tenant.replace("-", "_"), f"{tenant}-2"
    plant(live, database, "前")
    plant_file(live, tenant, "内容 7f3a91")
    kubectl.run("create", "job", "-n", SHARED, f"keep-{tenant}", f"--from=cronjob/backup-{tenant}")
    kubectl.run("wait", "-n", SHARED, f"job/keep-{tenant}", "--for=condition=Complete", "--timeout=180s")
    rows, files = digest(live, database), without_hash_paths(files_of(live, tenant))
    try:
        made = restore(kubectl, f"copy-{tenant}", tenant, "AsNew", asNew={"tenant": copy})
        assert made["phase"] == "Succeeded", made
        kubectl.wait_ready("et", copy)
        live.wait_served(f"{copy}.elink.localhost")
        assert digest(live, "t_" + copy.replace("-", "_")) == rows
        assert without_hash_paths(files_of(live, copy)) == files
        assert kubectl.json("get", "et", copy)["spec"]["displayName"] == f"試験 {tenant}（複製）"
        assert digest(live, database) == rows
    finally:
        if kubectl.items("et", copy):
            kubectl.run("annotate", "et", copy, f"elink-lc.com/confirm-erasure={copy}", "--overwrite")
            kubectl.run("delete", "et", copy, "--timeout=180s", timeout=200)
