"""`python -m tests.bench.dedicated`: from apply to Ready of Dedicated tenants on a cluster that `make up` made.

The floor, in the same run: a bare pod of the app's image, from apply to Ready. Images are present before both.
Exit code 1 when the target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tests.bench.operator.process import machine
from tests.support.kubectl import Kubectl
from tests.support.live import Live

TARGET_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


def tenant(name: str) -> str:
    """A small Dedicated tenant as JSON text."""
    spec = {
        "plan": "Dedicated",
        "displayName": f"計測 {name}",
        "masterAccount": {"email": f"master@{name}.example"},
        "size": {"app": {"replicas": 1}, "database": {"mode": "Embedded", "storage": "1Gi"}},
    }
    return json.dumps(
        {"apiVersion": "elink-lc.com/v1", "kind": "ElinkTenant", "metadata": {"name": name}, "spec": spec}
    )


def dedicated(kubectl: Kubectl, name: str) -> float:
    """Seconds until the tenant is Ready; it is erased afterwards."""
    started = time.monotonic()
    kubectl.apply(tenant(name))
    try:
        kubectl.wait_ready("et", name, timeout=300)
        return time.monotonic() - started
    finally:
        kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}")
        kubectl.run("delete", "et", name, "--timeout=240s", timeout=260)


def bare_pod(kubectl: Kubectl, image: str, name: str) -> float:
    """Seconds until one pod that does nothing is Ready."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "60"]}
    spec = {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    started = time.monotonic()
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
    try:
        kubectl.run("wait", "-n", "default", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
        return time.monotonic() - started
    finally:
        kubectl.run("delete", "pod", "-n", "default", name, "--wait=false")


def main(cluster: str, rounds: int) -> bool:
    """Interleaved rounds; prints the medians; whether the target was met."""
    live = Live.find(ROOT, cluster)
    floors, tenants = [], []
    for number in range(rounds):
        floors.append(bare_pod(live.kubectl, live.image("TENANT_APP"), f"bench-floor-{number}"))
        tenants.append(dedicated(live.kubectl, f"bench-own-{number}"))
    floor, took = statistics.median(floors), statistics.median(tenants)
    print(f"{machine()}\n\n| figure | median | all rounds |\n|---|---|---|")
    print(f"| dedicated_ready_s | {took:.1f} | {', '.join(f'{t:.1f}' for t in tenants)} |")
    print(f"| bare_pod_ready_s (floor) | {floor:.1f} | {', '.join(f'{t:.1f}' for t in floors)} |")
    print(f"| ratio | {took / floor:.1f} | |")
    print(f"\ndedicated_ready_s ≤ {TARGET_SECONDS:g}: {'kept' if took <= TARGET_SECONDS else 'MISSED'}")
    return took <= TARGET_SECONDS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dedicated", description=__doc__)
    parser.add_argument("--cluster", default="dev", help="name of the running cluster (default dev)")
    parser.add_argument("--rounds", type=int, default=3, help="tenants one after the other (default 3)")
    options = parser.parse_args()
    sys.exit(0 if main(options.cluster, options.rounds) else 1)
