"""The cluster's control groups, in both layouts (one tree, or one tree per controller)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def hierarchies(root: Path = _ROOT) -> list[Path]:
    """The mounted trees: the root itself for cgroup v2, each controller's folder for v1 (links left out)."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and (path / "tasks").exists()
    )


def create(name: str, root: Path = _ROOT) -> None:
    """Make `/<name>` (for pods, by the kubelet) and `/<name>/node` (for the node's own services) in every tree."""
    for tree in hierarchies(root):
        top = tree / name
        (top / "node").mkdir(parents=True, exist_ok=True)
        if tree == root:
            _delegate(tree, top)
        for folder in (top, top / "node"):
            _inherit_cpuset(folder)


def _delegate(tree: Path, top: Path) -> None:
    controllers = (tree / "cgroup.controllers").read_text().split()
    for folder in (tree, top):
        for controller in controllers:
            # A controller that the host does not hand out is simply not used.
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(folder: Path) -> None:
    """cgroup v1: a cpuset without CPUs accepts no process."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        own = folder / file
        if own.exists() and own.parent.parent.joinpath(file).exists() and not own.read_text().strip():
            own.write_text((folder.parent / file).read_text())


def enter(name: str, pid: int, root: Path = _ROOT) -> None:
    """Move a process into `/<name>/node` of every tree."""
    for tree in hierarchies(root):
        (tree / name / "node" / "cgroup.procs").write_text(str(pid))


def members(name: str, root: Path = _ROOT) -> set[int]:
    """PIDs in any group of the cluster."""
    found: set[int] = set()
    for tree in hierarchies(root):
        for folder, _, _ in os.walk(tree / name):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()}
    return found


def left(name: str, root: Path = _ROOT) -> list[Path]:
    """The cluster's groups that exist."""
    return [tree / name for tree in hierarchies(root) if (tree / name).exists()]


def remove(name: str, root: Path = _ROOT, patience: float = 10.0) -> None:
    """Remove the groups, innermost first; the kernel may need a moment after the last process."""
    deadline = time.monotonic() + patience
    while left(name, root) and time.monotonic() < deadline:
        for top in left(name, root):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        time.sleep(0.05)
