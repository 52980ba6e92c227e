"""One tenant's whole life: filled, backed up, drilled, lost, brought back, moved, cancelled, undone, erased, sought."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.conftest import made_tenant
from tests.cluster.searching import STORE, in_objects, in_postgres, in_volume, kinds_of
from tests.cluster.test_lifecycle import SHARED, digest, files_of
from tests.cluster.test_move import SMALL
from tests.cluster.test_operations import backup_once
from tests.cluster.test_restore import REMOVE, restore
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

ADDRESSES, FILES = 50_000, 200
_ROWS = """
INSERT INTO address (name, kana, sort_key, search_text, search_grams, notes)
SELECT '山田 ' || n, 'ヤマダ', 'ヤマダ' || n, '山田 ' || n, '{{}}', '{secret} ' || n FROM generate_series(1, {rows}) n
"""
_FILES = """
import random, sys
top, secret, number = f'/var/lib/elink/tenants/{sys.argv[1]}', sys.argv[2], int(sys.argv[3])
for n in range(number):
    with open(f'{top}/planted-{n}.bin', 'wb') as file:
        file.write(secret.encode() + random.Random(n).randbytes(20_000 + 100 * n))
"""
_LIST = """
import hashlib, os, sys
top = f'/var/lib/elink/tenants/{sys.argv[1]}'
for folder, _, names in os.walk(top):
    for name in names:
        path = os.path.join(folder, name)
        print(os.path.relpath(path, top), hashlib.sha256(open(path, 'rb').read()).hexdigest())
"""
RECORDS = {"elinkerasures", "elinkchanges", "events"}
"""Kinds that may name an erased tenant: its record, the records of changes, and for an hour the Events."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a part of the life took."""
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s")


def files_in(live: Live, server: str, tenant: str) -> dict[str, str]:
    """Path below the tenant's directory → SHA-256, as the app sees it."""
    namespace = f"elink-srv-{server}"
    web = live.pod(namespace, "web")["metadata"]["name"]
    said = eventually(lambda: live.kubectl.exec(namespace, web, "python3", "-c", _LIST, tenant), what="a list of files")
    return dict(line.split() for line in said.splitlines())  # type: ignore[arg-type, misc]


def state(kubectl: Kubectl, tenant: str, wanted: str) -> None:
    """Set the tenant's state as a person does."""
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps({"spec": {"state": wanted}}))


def deadline(kubectl: Kubectl, tenant: str) -> str:
    """`eraseAfter`; empty when the tenant is not cancelled."""
    return str(kubectl.json("get", "et", tenant)["status"].get("eraseAfter") or "")


def move(kubectl: Kubectl, tenant: str) -> dict[str, object]:
    """Move the tenant to a server of its own and end the time for which the old one keeps its data."""
    asked = {
        "metadata": {"annotations": {"elink-lc.com/move": "true"}},
        "spec": {"plan": "Dedicated", "size": SMALL},
    }
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps(asked))

    def result() -> dict[str, object] | None:
        found = kubectl.items("er", "-l", f"elink-lc.com/tenant={tenant}")
        moves = [r.get("status", {}) for r in found if r["spec"]["mode"] == "Move"]
        return moves[0] if moves and moves[0].get("phase") in {"Succeeded", "Failed", "RolledBack"} else None

    status = dict(eventually(result, timeout=900, what="the move ended"))
    assert (status["phase"], status.get("different", [])) == ("Succeeded", []), status
    kubectl.wait_ready("et", tenant)
    for found in kubectl.items("er", "-l", f"elink-lc.com/tenant={tenant}"):
        if found["spec"]["mode"] == "Move":
            kubectl.run("delete", "er", found["metadata"]["name"], "--timeout=240s", timeout=260)
    return status


@pytest.mark.timeout(2400)
def test_a_whole_life(live: Live, kubectl: Kubectl) -> None:
    mark = secrets.token_hex(4)
    tenant, secret = f"isshou-{mark}", f"himitsu-{secrets.token_hex(8)}"
    names = (tenant, tenant.replace("-", "_"))
    database, host = "t_" + names[1], f"{tenant}.elink.localhost"
    with made_tenant(live, tenant):
        with timed(f"{ADDRESSES} addresses and {FILES} files"):
            live.psql("shared-1", database, _ROWS.format(secret=secret, rows=ADDRESSES))
            web = live.pod(SHARED, "web")["metadata"]["name"]
            kubectl.exec(SHARED, web, "python3", "-c", _FILES, tenant, secret, str(FILES))
        rows, files = digest(live, database), files_in(live, "shared-1", tenant)
        assert len(files) == FILES
        # The search must find what is there.
        assert in_postgres(live, "shared-1", secret)
        assert in_volume(live, SHARED, "files", "/files", secret)

        with timed("eight backups"):
            for number in range(8):
                backup_once(kubectl, tenant, number)
        found = eventually(
            lambda: (b := kubectl.json("get", "et", tenant)["status"].get("backup", {})).get("generations") == 7 and b,
            timeout=60,
            what="seven generations in the store",
        )
        print(f"in the store: {found}")
        assert in_volume(live, *STORE, *names), "the bucket bears the name"
        assert in_volume(live, *STORE, secret) == [], "the store is sealed"

        with timed("drill"):
            drill = restore(kubectl, f"drill-{mark}", tenant, "Drill")
        assert (drill["phase"], drill.get("different", [])) == ("Succeeded", []), drill
        assert drill["files"] == FILES
        assert drill["rows"] >= ADDRESSES

        with timed("destroyed and brought back"):
            live.psql("shared-1", "postgres", f'DROP DATABASE "{database}" WITH (FORCE)')
            kubectl.exec(SHARED, web, "python3", "-c", REMOVE, tenant)
            eventually(
                lambda: any(
                    c["reason"] == "DatabaseLost" for c in kubectl.json("get", "et", tenant)["status"]["conditions"]
                ),
                timeout=180,
                what="DatabaseLost",
            )
            back = restore(kubectl, f"back-{mark}", tenant, "InPlace", generation=drill["generation"])
            assert back["phase"] == "Succeeded", back
            assert back["safetyBackup"] == "none: the database is lost"
            kubectl.wait_ready("et", tenant)
            live.wait_served(host)
        assert digest(live, database) == rows
        assert files_in(live, "shared-1", tenant) == files
        left = live.psql("shared-1", "postgres", "SELECT datname FROM pg_database WHERE datname ~ '^r_'").strip()
        assert left == "", "no scratch database is left"

        with timed("moved, the source removed"):
            moved = move(kubectl, tenant)
            live.wait_served(host)
        print(f"the customer waited {moved['downSeconds']} s of {moved['durationSeconds']} s")
        assert kubectl.json("get", "et", tenant)["status"]["server"] == tenant
        assert digest(live, database, tenant) == rows
        assert files_in(live, tenant, tenant) == files
        assert in_volume(live, SHARED, "files", "/files", secret, tenant) == []
        for kind in ("httproutes", "cronjobs", "secrets"):
            assert kubectl.items(kind, "-n", SHARED, "-l", f"elink-lc.com/tenant={tenant}") == [], kind

        with timed("cancelled and undone"):
            state(kubectl, tenant, "Cancelled")
            eventually(lambda: deadline(kubectl, tenant), timeout=60, what="eraseAfter")
            eventually(lambda: live.get(host, "/login")[0] != 200, timeout=60, what="out of service")
            state(kubectl, tenant, "Active")
            eventually(lambda: not deadline(kubectl, tenant), timeout=60, what="undone")
            kubectl.wait_ready("et", tenant)
            live.wait_served(host)
        assert digest(live, database, tenant) == rows
        assert files_in(live, tenant, tenant) == files

        volumes = [
            v["metadata"]["name"]
            for v in kubectl.items("pv")
            if v["spec"]["claimRef"]["namespace"] == f"elink-srv-{tenant}"
        ]
        assert volumes
        uid = kubectl.json("get", "et", tenant)["metadata"]["uid"]
        with timed("cancelled and erased at its deadline"):
            state(kubectl, tenant, "Cancelled")
            eventually(lambda: deadline(kubectl, tenant), timeout=60, what="eraseAfter")
            # The clock of a real cluster stays as it is: the deadline comes to it.
            due = datetime.now(UTC) + timedelta(seconds=5)
            sooner = json.dumps({"status": {"eraseAfter": f"{due:%Y-%m-%dT%H:%M:%SZ}"}})
            kubectl.run("patch", "et", tenant, "--subresource=status", "--type=merge", "-p", sooner)
            eventually(lambda: not kubectl.items("et", tenant), timeout=300, what="erased by itself")
        assert datetime.now(UTC) > due

    records = kubectl.items("ee")
    [record] = [r["spec"] for r in records if r["spec"]["tenantUid"] == uid]
    assert record["eraseAfter"].startswith(f"{due + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}")
    print(json.dumps(record, ensure_ascii=False, indent=1))
    assert {"Namespace", "Volume", "BackupBucket", "BackupKey"} <= {s["store"] for s in record["stores"]}
    verify = ("elink-operator", "erasures", "verify")
    print(kubectl.run("exec", "-n", "elink-system", "deploy/elink-operator", "--", *verify))
    assert not [v for v in kubectl.items("pv") if v["metadata"]["name"] in volumes]
    assert not kubectl.items("namespace", f"elink-srv-{tenant}")

    with timed("searched for"):
        found = {
            "PostgreSQL, the secret": in_postgres(live, "shared-1", secret),
            "PostgreSQL, the name": in_postgres(live, "shared-1", *names),
            "files": in_volume(live, SHARED, "files", "/files", secret, *names),
            "store": in_volume(live, *STORE, secret, *names),
            "objects, the secret": in_objects(kubectl, secret),
            "objects, the name": [o for o in in_objects(kubectl, *names) if not kinds_of([o]) <= RECORDS],
        }
    assert {place: left for place, left in found.items() if left} == {}
    assert files_of(live, tenant) == []
    assert live.get(host, "/login")[0] == 404
