"""The host's side of the cluster: the forwarder process and whether its ports are free."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from hack.cluster import processes
from hack.cluster.config import Cluster
from hack.cluster.steps import StepError, Steps, tail, wait_for

_FORWARD = Path(__file__).resolve().parent / "forward.py"


def arguments(cluster: Cluster) -> list[str]:
    """The forwarder's arguments after its path."""
    return [cluster.device, *(f"{port}={address}:{inner}" for port, (address, inner) in cluster.forwards.items())]


def busy(port: int) -> bool:
    """Whether something listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def refuse_taken(cluster: Cluster) -> None:
    """`StepError` when a port of the cluster is used by something else."""
    if processes.recorded(cluster.pids / "forward") is not None:
        return
    for port in cluster.forwards:
        if busy(port):
            raise StepError(
                f"port {port} of 127.0.0.1 is in use by another program",
                advice=f"Find it: ss -ltnp 'sport = :{port}'. Or take another name: make up CLUSTER_NAME=other",
            )


def ensure(cluster: Cluster, steps: Steps) -> None:
    """Start the forwarder unless it runs."""
    pidfile, log = cluster.pids / "forward", cluster.logs / "forward.log"
    if processes.recorded(pidfile) is not None:
        return
    with steps.step(f"Opening 127.0.0.1 ports {', '.join(map(str, cluster.forwards))}", "ports"):
        refuse_taken(cluster)
        log.write_text("")
        processes.record(pidfile, processes.spawn([sys.executable, "-I", str(_FORWARD), *arguments(cluster)], log))
        wait_for(
            lambda: "forwarding" in log.read_text() or processes.recorded(pidfile) is None,
            timeout=10, what="the forwarder listens", log=log,
        )  # fmt: skip
        if processes.recorded(pidfile) is None:
            raise StepError(f"the forwarder ended: {tail(log)}", log=log)


def stop(cluster: Cluster) -> None:
    """End the forwarder, one left without its pid file included."""
    wanted = arguments(cluster)
    for pid in processes.matching(lambda args: args[2:3] == [str(_FORWARD)] and args[3:4] == wanted[:1]):
        processes.end(pid)
    (cluster.pids / "forward").unlink(missing_ok=True)
