"""The autoscaler on a real metric: load on the web pods brings another one, and the operator leaves it there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SHARED = "elink-srv-shared-1"
_CLIENTS = 4
_LONGEST = 240.0


@contextmanager
def visitors(live: Live, host: str) -> Iterator[None]:
    """A few people who load the log-in page again and again; they stop with the block, or by themselves."""
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            try:
                live.get(host, "/login")
            except OSError:
                done.wait(0.2)  # a pod that goes away in the middle of an answer

    threads = [threading.Thread(target=visit, daemon=True) for _ in range(_CLIENTS)]
    timer = threading.Timer(_LONGEST, done.set)
    for thread in (*threads, timer):
        thread.start()
    try:
        yield
    finally:
        done.set()
        timer.cancel()
        for thread in threads:
            thread.join()


def autoscaler(kubectl: Kubectl) -> dict[str, object]:
    """What the HorizontalPodAutoscaler has measured: replicas and CPU in percent of the request."""
    found = kubectl.json("get", "hpa", "web", "-n", SHARED)["status"]
    measured = [m["resource"]["current"].get("averageUtilization") for m in found.get("currentMetrics") or ()]
    return {"wanted": found.get("desiredReplicas", 0), "cpu": measured[0] if measured else None}


def replicas(kubectl: Kubectl) -> int:
    return int(kubectl.json("get", "deploy", "web", "-n", SHARED)["spec"]["replicas"])


@pytest.mark.alone
def test_load_brings_another_web_pod_and_the_operator_leaves_it(live: Live, tenant: str) -> None:
    kubectl = live.kubectl
    was = int(kubectl.json("get", "es", "shared-1")["spec"]["app"]["replicas"])
    wanted = {"min": was, "max": was + 1, "targetCPU": 10}
    patch = {"spec": {"app": {"autoscaling": wanted}}}
    kubectl.run("patch", "es", "shared-1", "--type=merge", "-p", json.dumps(patch))
    try:
        with visitors(live, f"{tenant}.elink.localhost"):
            eventually(
                lambda: autoscaler(kubectl)["cpu"] is not None,
                timeout=120,
                what="the autoscaler has measured the CPU of the web pods",
            )
            eventually(lambda: replicas(kubectl) == was + 1, timeout=120, what="one more web pod")
            eventually(
                lambda: kubectl.json("get", "deploy", "web", "-n", SHARED)["status"].get("readyReplicas") == was + 1,
                timeout=120,
                what="it is ready",
            )
        # A change that makes the operator apply the Deployment again must not take the pod away.
        kubectl.run("annotate", "deploy", "web", "-n", SHARED, "elink-lc.com/applied-hash-", "--overwrite")
        kubectl.run("label", "deploy", "web", "-n", SHARED, "elink-lc.com/component=drifted", "--overwrite")
        eventually(
            lambda: (
                kubectl.json("get", "deploy", "web", "-n", SHARED)["metadata"]["labels"]["elink-lc.com/component"]
                == "web"
            ),
            timeout=60,
            what="the operator put the Deployment's label back",
        )
        assert replicas(kubectl) == was + 1
    finally:
        kubectl.run(
            "patch", "es", "shared-1", "--type=merge", "-p", json.dumps({"spec": {"app": {"autoscaling": None}}})
        )
        eventually(
            lambda: not kubectl.items("hpa", "-n", SHARED) and replicas(kubectl) == was,
            timeout=60,
            what="the number of web pods is the server's own again",
        )
