"""kill -9 on real nodes: the operator's leader at every step, and the first pod of every Job, while four things happen.

A backup, a restore in place, a move and an erasure run beside each other; each must end as if nothing had been, and a
neighbour whose name begins like the erased tenant's must stay as it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.cluster.conftest import made_tenant
from tests.cluster.searching import SHARED, files_of
from tests.cluster.test_lifecycle import digest, plant, plant_file
from tests.cluster.test_move import ask_for_move, moved
from tests.cluster.test_operations import SYSTEM, backup_once, leader
from tests.cluster.test_restore import restore, scratch_databases
from tests.support.kubectl import Kubectl, KubectlError, eventually
from tests.support.live import Live

SAVED, RESTORED, MOVED, ERASED, NEIGHBOUR = "kill-saved", "kill-restored", "kill-moved", "kill-erased", "kill-erase"
_FORCE = ("--grace-period=0", "--force", "--wait=false")
_LATER = ("-read-2", "-read-3")
_MOST = 12
"""Leaders that are killed at the most: each costs the time of a Lease."""


def database_of(tenant: str) -> str:
    return "t_" + tenant.replace("-", "_")


@dataclass
class Killer:
    """Kills until `done`. What it has seen and done is kept for the test to look at."""

    kubectl: Kubectl
    steps: list[str] = field(default_factory=list)
    leaders: list[str] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look four times a second."""
        while not self.done.wait(0.25):
            try:
                self._first_pods_of_jobs()
                new = [step for step in self._where_they_are() if step not in self.steps]
                self.steps += new
                if new and len(self.leaders) < _MOST:
                    self._leader()
            except (KubectlError, KeyError, ValueError) as error:
                print(f"not seen: {error}")  # an object that went away meanwhile

    def _where_they_are(self) -> list[str]:
        found = []
        for one in self.kubectl.items("er"):
            if one["spec"]["tenant"] in (RESTORED, MOVED):
                status = one.get("status", {})
                found.append(f"{one['spec']['mode']} {status.get('step', '')} {status.get('phase', '')}")
        for one in self.kubectl.items("et", ERASED):
            steps = one.get("status", {}).get("erasure", {}).get("steps", [])
            found += [f"Erasure {step['name']}" for step in steps if step["done"]]
        return found

    def _first_pods_of_jobs(self) -> None:
        tenants = ",".join((SAVED, RESTORED, MOVED, ERASED))
        for pod in self.kubectl.items(
            "pods", "-A", "-l", f"elink-lc.com/tenant in ({tenants}),batch.kubernetes.io/job-name"
        ):
            metadata = pod["metadata"]
            job = f"{metadata['namespace']}/{metadata['labels']['batch.kubernetes.io/job-name']}"
            # Of the tries of a read the first: all three are as many as there are.
            if job not in self.jobs and not job.endswith(_LATER) and pod["status"]["phase"] == "Running":
                self.jobs.add(job)
                self.kubectl.run("delete", "pod", "-n", metadata["namespace"], metadata["name"], *_FORCE)

    def _leader(self) -> None:
        holder = leader(self.kubectl)
        selector = ("-l", "app.kubernetes.io/name=elink-operator")
        names = [p["metadata"]["name"] for p in self.kubectl.items("pods", "-n", SYSTEM, *selector)]
        # One that was killed holds the Lease until it expires: nobody else can be killed at this step then.
        for name in names:
            if name in holder:
                self.leaders.append(name)
                self.kubectl.run("delete", "pod", "-n", SYSTEM, name, *_FORCE)


@contextmanager
def killing(kubectl: Kubectl) -> Iterator[Killer]:
    """Kills while the block runs."""
    killer = Killer(kubectl)
    thread = threading.Thread(target=killer.run)
    thread.start()
    try:
        yield killer
    finally:
        killer.done.set()
        thread.join()


def begin_all(kubectl: Kubectl) -> None:
    """A backup, a move and an erasure, without waiting; the restore follows."""
    kubectl.run("create", "job", "-n", SHARED, "kill-backup", f"--from=cronjob/backup-{SAVED}")
    ask_for_move(kubectl, MOVED)
    kubectl.run("annotate", "et", ERASED, f"elink-lc.com/confirm-erasure={ERASED}")
    kubectl.run("delete", "et", ERASED, "--wait=false")


@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_whoever_is_killed_all_four_end_well(live: Live, kubectl: Kubectl) -> None:
    with ExitStack() as tenants:
        for tenant in (SAVED, RESTORED, MOVED, ERASED, NEIGHBOUR):
            tenants.enter_context(made_tenant(live, tenant))
            plant(live, database_of(tenant), f"山田 {tenant}")
            plant_file(live, tenant, f"内容 {tenant}")
        for tenant in (RESTORED, ERASED, NEIGHBOUR):
            backup_once(kubectl, tenant, 0)
        newest = eventually(
            lambda: kubectl.json("get", "et", RESTORED)["status"].get("backup", {}).get("newest"), what="a generation"
        )
        before = {tenant: digest(live, database_of(tenant)) for tenant in (RESTORED, MOVED, NEIGHBOUR)}
        files = files_of(live, NEIGHBOUR)
        plant(live, database_of(RESTORED), "後で")
        uid = kubectl.json("get", "et", ERASED)["metadata"]["uid"]
        started = time.monotonic()
        with killing(kubectl) as killer:
            begin_all(kubectl)
            generation = str(newest).replace("-", "").replace(":", "")
            back = restore(kubectl, "kill-back", RESTORED, "InPlace", generation=generation)
            _, there = moved(kubectl, MOVED, 900)
            kubectl.run(
                "wait", "-n", SHARED, "job/kill-backup", "--for=condition=Complete", "--timeout=300s", timeout=320
            )
            eventually(lambda: not kubectl.items("et", ERASED), timeout=600, what="the erasure ended")
        print(f"{time.monotonic() - started:.0f} s; leaders killed: {len(killer.leaders)}; Jobs: {sorted(killer.jobs)}")
        print("\n".join(killer.steps))
        assert len(killer.leaders) >= 3
        # On a quick machine some are over between two looks.
        assert len(killer.jobs) >= 2
        assert (back["phase"], there["phase"]) == ("Succeeded", "Succeeded"), (back, there)

        def saved() -> bool:
            return bool(kubectl.json("get", "et", SAVED)["status"].get("backup", {}).get("generations") == 1)

        eventually(saved, timeout=120, what="one generation, not two")
        for tenant in (RESTORED, MOVED):
            kubectl.wait_ready("et", tenant)
            live.wait_served(f"{tenant}.elink.localhost")
            assert scratch_databases(live, tenant) == ""
        assert digest(live, database_of(RESTORED)) == before[RESTORED]
        assert digest(live, database_of(MOVED), MOVED) == before[MOVED]
        assert digest(live, database_of(NEIGHBOUR)) == before[NEIGHBOUR]
        assert files_of(live, NEIGHBOUR) == files
        nothing_is_left(live, kubectl, uid)


def nothing_is_left(live: Live, kubectl: Kubectl, uid: str) -> None:
    """Of the erased tenant, but its record."""
    name = database_of(ERASED)
    for question in (
        f"SELECT datname FROM pg_database WHERE datname ~ '(^|_){name[2:]}$'",
        f"SELECT rolname FROM pg_roles WHERE rolname = '{name}'",
    ):
        assert live.psql("shared-1", "postgres", question).strip() == "", question
    assert live.psql("shared-1", "elink_registry", f"SELECT 1 FROM tenant WHERE name = '{ERASED}'").strip() == ""
    assert files_of(live, ERASED) == []
    assert len([r for r in kubectl.items("ee") if r["spec"]["tenantUid"] == uid]) == 1, "one record"
    verify = ("elink-operator", "erasures", "verify")
    print(kubectl.run("exec", "-n", SYSTEM, "deploy/elink-operator", "--", *verify))
