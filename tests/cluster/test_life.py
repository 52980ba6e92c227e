"""One tenant's whole life: filled, backed up, drilled, lost, brought back, moved, cancelled, undone, erased, sought."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.conftest import made_tenant
from tests.cluster.searching import STORE, in_objects, in_postgres, in_volume, kinds_of
from tests.cluster.test_lifecycle import SHARED, digest, files_of
from tests.cluster.test_move import ask_for_move, moved
from tests.cluster.test_operations import backup_once
from tests.cluster.test_restore import REMOVE, restore, scratch_databases
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


def move(kubectl: Kubectl, tenant: str) -> dict[str, Any]:
    """Move the tenant to a server of its own and end the time for which the old one keeps its data."""
    ask_for_move(kubectl, tenant)
    name, status = moved(kubectl, tenant, 900)
    assert (status["phase"], status.get("different", [])) == ("Succeeded", []), status
    kubectl.wait_ready("et", tenant)
    kubectl.run("delete", "er", name, "--timeout=240s", timeout=260)
    return status


@dataclass
class Life:
    """One tenant, and what it holds; each method is a chapter, and ends with what must be true then."""

    live: Live
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    secret: str = field(default_factory=lambda: f"himitsu-{secrets.token_hex(8)}")
    rows: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tenant = f"isshou-{self.mark}"
        self.names = (self.tenant, self.tenant.replace("-", "_"))
        self.database, self.host = "t_" + self.names[1], f"{self.tenant}.elink.localhost"
        self.kubectl = self.live.kubectl

    def status(self) -> dict[str, Any]:
        """The tenant's status."""
        found: dict[str, Any] = self.kubectl.json("get", "et", self.tenant)["status"]
        return found

    def is_the_same(self, server: str) -> None:
        """Every row and every byte is on `server`."""
        assert digest(self.live, self.database, server) == self.rows
        assert files_in(self.live, server, self.tenant) == self.files

    def is_filled(self) -> None:
        with timed(f"{ADDRESSES} addresses and {FILES} files"):
            self.live.psql("shared-1", self.database, _ROWS.format(secret=self.secret, rows=ADDRESSES))
            web = self.live.pod(SHARED, "web")["metadata"]["name"]
            self.kubectl.exec(SHARED, web, "python3", "-c", _FILES, self.tenant, self.secret, str(FILES))
        self.rows = digest(self.live, self.database)
        self.files = files_in(self.live, "shared-1", self.tenant)
        assert len(self.files) == FILES
        # The search must find what is there.
        assert in_postgres(self.live, "shared-1", self.secret)
        assert in_volume(self.live, SHARED, "files", "/files", self.secret)

    def is_backed_up_eight_times(self) -> None:
        with timed("eight backups"):
            for number in range(8):
                backup_once(self.kubectl, self.tenant, number)
        found = eventually(
            lambda: (b := self.status().get("backup", {})).get("generations") == 7 and b,
            timeout=60,
            what="seven generations in the store",
        )
        print(f"in the store: {found}")
        assert in_volume(self.live, *STORE, *self.names), "the bucket bears the name"
        assert in_volume(self.live, *STORE, self.secret) == [], "the store is sealed"

    def is_drilled(self) -> str:
        """Returns the generation that was proven."""
        with timed("drill"):
            drill = restore(self.kubectl, f"drill-{self.mark}", self.tenant, "Drill")
        assert (drill["phase"], drill.get("different", [])) == ("Succeeded", []), drill
        assert drill["files"] == FILES
        assert drill["rows"] >= ADDRESSES
        return str(drill["generation"])

    def is_destroyed_and_brought_back(self, generation: str) -> None:
        live, kubectl = self.live, self.kubectl
        with timed("destroyed and brought back"):
            live.psql("shared-1", "postgres", f'DROP DATABASE "{self.database}" WITH (FORCE)')
            web = live.pod(SHARED, "web")["metadata"]["name"]
            kubectl.exec(SHARED, web, "python3", "-c", REMOVE, self.tenant)
            eventually(
                lambda: any(c["reason"] == "DatabaseLost" for c in self.status()["conditions"]),
                timeout=180,
                what="DatabaseLost",
            )
            back = restore(kubectl, f"back-{self.mark}", self.tenant, "InPlace", generation=generation)
            assert back["phase"] == "Succeeded", back
            assert back["safetyBackup"] == "none: the database is lost"
            kubectl.wait_ready("et", self.tenant)
            live.wait_served(self.host)
        self.is_the_same("shared-1")
        assert scratch_databases(live, self.tenant) == "", "no scratch database is left"

    def is_moved_to_a_server_of_its_own(self) -> None:
        with timed("moved, the source removed"):
            done = move(self.kubectl, self.tenant)
            self.live.wait_served(self.host)
        print(f"the customer waited {done['downSeconds']} s of {done['durationSeconds']} s")
        assert self.status()["server"] == self.tenant
        self.is_the_same(self.tenant)
        assert in_volume(self.live, SHARED, "files", "/files", self.secret, self.tenant) == []
        for kind in ("httproutes", "cronjobs", "secrets"):
            assert self.kubectl.items(kind, "-n", SHARED, "-l", f"elink-lc.com/tenant={self.tenant}") == [], kind

    def is_cancelled(self) -> None:
        state(self.kubectl, self.tenant, "Cancelled")
        eventually(lambda: deadline(self.kubectl, self.tenant), timeout=60, what="eraseAfter")

    def is_cancelled_and_undone(self) -> None:
        with timed("cancelled and undone"):
            self.is_cancelled()
            eventually(lambda: self.live.get(self.host, "/login")[0] != 200, timeout=60, what="out of service")
            state(self.kubectl, self.tenant, "Active")
            eventually(lambda: not deadline(self.kubectl, self.tenant), timeout=60, what="undone")
            self.kubectl.wait_ready("et", self.tenant)
            self.live.wait_served(self.host)
        self.is_the_same(self.tenant)

    def is_erased_at_its_deadline(self) -> datetime:
        """Returns the deadline."""
        with timed("cancelled and erased at its deadline"):
            self.is_cancelled()
            # The clock of a real cluster stays as it is: the deadline comes to it.
            due = datetime.now(UTC) + timedelta(seconds=5)
            sooner = json.dumps({"status": {"eraseAfter": f"{due:%Y-%m-%dT%H:%M:%SZ}"}})
            self.kubectl.run("patch", "et", self.tenant, "--subresource=status", "--type=merge", "-p", sooner)
            eventually(lambda: not self.kubectl.items("et", self.tenant), timeout=300, what="erased by itself")
        assert datetime.now(UTC) > due
        return due

    def has_a_record(self, uid: str, due: datetime) -> None:
        [record] = [r["spec"] for r in self.kubectl.items("ee") if r["spec"]["tenantUid"] == uid]
        assert record["eraseAfter"].startswith(f"{due + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}")
        print(json.dumps(record, ensure_ascii=False, indent=1))
        assert {"Namespace", "Volume", "BackupBucket", "BackupKey"} <= {s["store"] for s in record["stores"]}
        verify = ("elink-operator", "erasures", "verify")
        print(self.kubectl.run("exec", "-n", "elink-system", "deploy/elink-operator", "--", *verify))

    def is_nowhere(self) -> None:
        live, kubectl, secret, names = self.live, self.kubectl, self.secret, self.names
        with timed("searched for"):
            found = {
                "PostgreSQL, the secret": in_postgres(live, "shared-1", secret),
                "PostgreSQL, the name": [
                    # Planner statistics of the catalogs, in some other database: the record says that they remain.
                    path
                    for path in in_postgres(live, "shared-1", *names)
                    if not path.endswith("/2619")
                ],
                "files": in_volume(live, SHARED, "files", "/files", secret, *names),
                "store": in_volume(live, *STORE, secret, *names),
                "objects, the secret": in_objects(kubectl, secret),
                "objects, the name": [o for o in in_objects(kubectl, *names) if not kinds_of([o]) <= RECORDS],
            }
        assert {place: left for place, left in found.items() if left} == {}
        assert files_of(live, self.tenant) == []
        assert live.get(self.host, "/login")[0] == 404


@pytest.mark.alone  # a database that is destroyed by hand stops every erasure on its server
@pytest.mark.timeout(2400)
def test_a_whole_life(live: Live, kubectl: Kubectl) -> None:
    life = Life(live)
    with made_tenant(live, life.tenant):
        life.is_filled()
        life.is_backed_up_eight_times()
        generation = life.is_drilled()
        life.is_destroyed_and_brought_back(generation)
        life.is_moved_to_a_server_of_its_own()
        life.is_cancelled_and_undone()
        own = f"elink-srv-{life.tenant}"
        volumes = [v["metadata"]["name"] for v in kubectl.items("pv") if v["spec"]["claimRef"]["namespace"] == own]
        assert volumes
        uid = kubectl.json("get", "et", life.tenant)["metadata"]["uid"]
        due = life.is_erased_at_its_deadline()
    life.has_a_record(uid, due)
    assert not [v for v in kubectl.items("pv") if v["metadata"]["name"] in volumes]
    assert not kubectl.items("namespace", own)
    life.is_nowhere()
