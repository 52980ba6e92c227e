"""The node's namespaces: its network with a cable to the host, and the process that holds everything else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import cgroups, processes
from hack.cluster.config import Cluster, cache_dir
from hack.cluster.steps import StepError, Steps, read, succeeds, tail, wait_for

_CODE = Path(__file__).resolve().parent
NETNS = Path("/var/run/netns")


def owner(cluster: Cluster) -> Path | None:
    """The state folder of the checkout that runs a node of this name now, this one or another."""
    for pid in processes.matching(lambda args: len(args) > 4 and args[-5].endswith("/init.py")):
        *_, state, _cache, _code, hostname = processes.command_line(pid)
        if hostname == cluster.device:
            return Path(state)
    return None


def exists(cluster: Cluster) -> bool:
    """Whether there is a native cluster of this name, whole or half-made, on this host."""
    return (NETNS / cluster.device).exists() or owner(cluster) is not None


def refuse_foreign(cluster: Cluster) -> None:
    """`StepError` when another checkout runs a cluster of this name: ports and names would collide."""
    found = owner(cluster)
    if found is not None and found != cluster.state:
        raise StepError(
            f"a cluster '{cluster.name}' of another checkout is running: {found.parent}",
            advice=f"Stop it with: python3 {found.parent}/hack/cluster down --name {cluster.name}",
        )


def node_processes(cluster: Cluster) -> list[int]:
    """Process 1 of the node and its waiting parent, found by their arguments: a pid file may be lost."""
    return processes.matching(lambda args: args[-1:] == [cluster.device] and any(a.endswith("/init.py") for a in args))


def kill_node(cluster: Cluster) -> None:
    """Kill process 1 of the node: the kernel ends all of its PID namespace with it. Then wait until all are gone."""
    for pid in [*node_processes(cluster), *cgroups.members(cluster.device)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: not node_processes(cluster) and not cgroups.members(cluster.device),
        timeout=30, what="all processes of the node are gone",
    )  # fmt: skip


@dataclass(frozen=True)
class Sandbox:
    """Start, enter and look at a node's namespaces."""

    cluster: Cluster
    steps: Steps

    @property
    def _pidfile(self) -> Path:
        return self.cluster.pids / "node"

    @property
    def pid(self) -> int | None:
        """The node's process 1, by its number on the host, or None when the node is not running."""
        parent = processes.recorded(self._pidfile)
        below = processes.children(parent) if parent else []
        return below[0] if below else None

    def ensure_network(self) -> None:
        """The network namespace and the cable; complete ones are kept, half-made ones are made again."""
        name, cluster = self.cluster.device, self.cluster
        if self.pid is not None:
            return
        # A start that was killed half-way may have left a node that no pid file knows, and control groups of dead
        # containers cost the new kubelet three seconds each.
        kill_node(cluster)
        cgroups.remove(cluster.device)
        self.remove_network()
        self.steps.run("ip", "netns", "add", name)
        self.steps.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.steps.run("ip", "address", "add", f"{cluster.host_ip}/30", "dev", name)
        self.steps.run("ip", "link", "set", name, "up")
        inside = ("ip", "-n", name)
        self.steps.run(*inside, "address", "add", f"{cluster.node_ip}/30", "dev", "eth0")
        self.steps.run(*inside, "link", "set", "lo", "up")
        self.steps.run(*inside, "link", "set", "eth0", "up")
        # Without a default route the API server finds no address of its own; beyond the host nothing answers.
        self.steps.run(*inside, "route", "add", "default", "via", cluster.host_ip)

    def remove_network(self) -> None:
        """Remove namespace and cable, whatever of them exists."""
        name = self.cluster.device
        if (NETNS / name).exists():
            self.steps.run("ip", "netns", "delete", name)

        def unplugged() -> bool:
            # The kernel removes the cable of a dead namespace by itself, some time later: both may be first.
            return not succeeds("ip", "link", "show", name) or succeeds("ip", "link", "delete", name)

        wait_for(unplugged, timeout=10, what=f"the interface {name} is gone")

    def ensure_node(self) -> None:
        """Start process 1 of the node, in its own control group, and wait until its file system is prepared."""
        if self.pid is not None:
            return
        cluster = self.cluster
        cgroups.create(cluster.device)
        for folder in (cluster.logs, cluster.pids, cluster.data, cluster.state / "services"):
            folder.mkdir(parents=True, exist_ok=True)
        for stale in (cluster.state / "services").glob("*.json"):
            stale.unlink()
        (cluster.state / "netpol.ready").unlink(missing_ok=True)
        log = cluster.logs / "node.log"
        log.write_text("")
        command = [
            "nsenter", f"--net={NETNS / cluster.device}",
            "unshare", "--mount", "--propagation", "slave", "--ipc", "--uts",
            "--pid", "--fork", "--kill-child", "--mount-proc",
            sys.executable, "-I", str(_CODE / "init.py"),
            str(cluster.state), str(cache_dir()), str(_CODE), cluster.device,
        ]  # fmt: skip
        # The shell joins the control groups before it becomes the node, so nothing ever runs outside them.
        joins = " && ".join(
            f"echo $$ > '{tree / cluster.device / 'node' / 'cgroup.procs'}'" for tree in cgroups.hierarchies()
        )
        pid = processes.spawn(["/bin/sh", "-c", f'{joins} && exec "$@"', "sh", *command], log)
        processes.record(self._pidfile, pid)
        wait_for(
            lambda: "the node is prepared" in log.read_text() or processes.recorded(self._pidfile) is None,
            timeout=30, what="the node's process 1 prepares its file system", log=log,
        )  # fmt: skip
        if self.pid is None:
            raise StepError(f"the node's process 1 ended: {tail(log)}", log=log)

    def command(self, *command: str | Path) -> list[str]:
        """A command line that runs `command` inside the node."""
        pid = self.pid
        if pid is None:
            raise StepError(f"the node of cluster '{self.cluster.name}' is not running", advice="Run: make up")
        return ["nsenter", "-t", str(pid), "--mount", "--net", "--ipc", "--uts", "--pid", *map(str, command)]

    def run(self, *command: str | Path) -> None:
        """Run a command inside the node with its output in the step's log."""
        self.steps.run(*self.command(*command))

    def read(self, *command: str | Path, check: bool = True) -> str:
        """What a command inside the node prints."""
        return read(*self.command(*command), check=check)

    def begin(self, source: Path, log: Path, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command inside the node with a file as its standard input, and do not wait for it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as stdin, log.open("ab") as output:
            return subprocess.Popen(self.command(*command), stdin=stdin, stdout=output, stderr=output)
