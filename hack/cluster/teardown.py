"""Removing a native cluster, and proving that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hack.cluster import cgroups, ports, processes
from hack.cluster.config import Cluster
from hack.cluster.sandbox import NETNS, Sandbox, kill_node, node_processes, owner
from hack.cluster.steps import StepError, Steps, succeeds


def mounts_below(folder: Path, table: str) -> list[str]:
    """Mount points at or below `folder` in the text of /proc/self/mountinfo."""
    points = [line.split()[4].replace("\\040", " ") for line in table.splitlines() if line]
    return [point for point in points if Path(point) == folder or folder in Path(point).parents]


def _mounts(cluster: Cluster) -> list[str]:
    return mounts_below(cluster.state, Path("/proc/self/mountinfo").read_text())


def destroy(cluster: Cluster, steps: Steps) -> None:
    """Remove everything of the cluster; `StepError` that lists whatever remains."""
    running = owner(cluster)
    if running is not None and running != cluster.state:
        raise StepError(
            f"the running cluster '{cluster.name}' belongs to another checkout: {running.parent}",
            advice=f"Stop it with: python3 {running.parent}/hack/cluster down --name {cluster.name}",
        )
    steps.say(f"Removing cluster '{cluster.name}'")
    ports.stop(cluster)
    kill_node(cluster)
    cgroups.remove(cluster.device)
    Sandbox(cluster, _Quiet(steps)).remove_network()
    for point in sorted(_mounts(cluster), reverse=True):
        subprocess.run(["umount", point], check=False)
    if not _mounts(cluster):
        shutil.rmtree(cluster.state, ignore_errors=True)
    remains = leftovers(cluster)
    if remains:
        raise StepError(
            "something is left:\n  " + "\n  ".join(remains), advice="Run it again; then look at each by hand."
        )
    steps.say(
        f"Cluster '{cluster.name}' is gone: no process, mount, interface, namespace, control group or file is left"
    )


def leftovers(cluster: Cluster) -> list[str]:
    """One line for everything of the cluster that still exists on this host."""
    found = [f"process {pid}: {' '.join(processes.command_line(pid))[:120]}" for pid in node_processes(cluster)]
    found += [f"process {pid} in the cluster's control group" for pid in sorted(cgroups.members(cluster.device))]
    found += [f"control group {path}" for path in cgroups.left(cluster.device)]
    found += [f"mount {point}" for point in _mounts(cluster)]
    if (NETNS / cluster.device).exists():
        found.append(f"network namespace {cluster.device}")
    if succeeds("ip", "link", "show", cluster.device):
        found.append(f"interface {cluster.device}")
    found += [f"port {port} is still served" for port in cluster.forwards if ports.busy(port)]
    if cluster.state.exists():
        found.append(f"folder {cluster.state}")
    return found


class _Quiet(Steps):
    """Steps whose commands print nothing: the log folder is what is being removed."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps.logs)
        self.log = Path(os.devnull)
