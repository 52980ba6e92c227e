"""The native back end: upstream's programs as plain processes in namespaces of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hack.cluster import addons, binaries, controlplane, node, packages, ports, teardown
from hack.cluster.config import Cluster
from hack.cluster.imagebuild import Buildah
from hack.cluster.images import ADDONS, Image
from hack.cluster.kubectl import Kubectl
from hack.cluster.pki import Pki
from hack.cluster.sandbox import Sandbox, owner, refuse_foreign
from hack.cluster.steps import StepError, Steps, tail

_CTR = ("ctr", "-n", "k8s.io")


@dataclass
class Native:
    """One native cluster."""

    cluster: Cluster
    steps: Steps
    name: str = "native"
    _sandbox: Sandbox = field(init=False)

    def __post_init__(self) -> None:
        self._sandbox = Sandbox(self.cluster, self.steps)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl of the cluster's version."""
        return Kubectl(binaries.program("kubectl"), self.cluster.kubeconfig, self.steps)

    @property
    def helm(self) -> Path:
        """helm."""
        return binaries.program("helm")

    def up(self) -> None:
        """From nothing, or from wherever a former run stopped, to a Ready node with its add-ons."""
        cluster, steps = self.cluster, self.steps
        _require_linux_root()
        refuse_foreign(cluster)
        ports.refuse_taken(cluster)
        packages.ensure(steps)
        binaries.ensure(binaries.NATIVE, steps)
        images = Buildah(steps).ensure(ADDONS)
        with steps.step("Making the cluster's namespaces", "namespaces"):
            self._sandbox.ensure_network()
            self._sandbox.ensure_node()
        pki = Pki(cluster, steps)
        node.start_containerd(cluster, self._sandbox, images["pause"], steps)
        # Importing images and starting the control plane take the longest, and neither needs the other.
        with self._loading(images.values()):
            controlplane.start(cluster, pki, steps)
            node.start(cluster, steps)
        addons.install(self.kubectl, addons.values(cluster, images, pki, native=True), steps)
        ports.ensure(cluster, steps)
        addons.wait(self.kubectl, steps)

    def images(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build images and load them into the node; name → reference."""
        packages.ensure(self.steps)
        for image in wanted:
            if image.source:
                binaries.ensure([image.source], self.steps)
        names = Buildah(self.steps).ensure(wanted)
        if self._sandbox.pid is not None:
            with self._loading(names.values()):
                pass
        return names

    @contextmanager
    def _loading(self, names: Iterable[str]) -> Iterator[None]:
        """Import the images that containerd does not have yet, while the body runs; done when the block ends."""
        present = set(self._sandbox.read(*_CTR, "images", "ls", "-q").split())
        missing = [name for name in names if name not in present]
        if not missing:
            yield
            return
        archive, log = self.cluster.data / "images.tar", self.cluster.logs / "images-load.log"
        Buildah(self.steps).archive(missing, archive)
        importing = self._sandbox.begin(archive, log, *_CTR, "images", "import", "--all-platforms", "-")
        try:
            yield
            with self.steps.step(f"Loading {len(missing)} images into the node", "images-load"):
                if importing.wait() != 0:
                    raise StepError(f"ctr exited with {importing.returncode}: {tail(log)}", log=log)
        finally:
            importing.kill()
            importing.wait()
            archive.unlink(missing_ok=True)

    def down(self) -> None:
        """Remove it and prove it."""
        _require_linux_root()
        teardown.destroy(self.cluster, self.steps)

    def status(self) -> int:
        """Print what runs; 0 when all of it does."""
        running = owner(self.cluster)
        if running is None:
            print(f"Cluster '{self.cluster.name}' is not running.")
            return 1
        print(f"Cluster '{self.cluster.name}' (native) of {running.parent}")
        if running != self.cluster.state:
            return 1
        if not self.kubectl.ok("get", "--raw", "/readyz"):
            print(f"The API server does not answer; see {self.cluster.logs / 'kube-apiserver.log'}")
            return 1
        print(self.kubectl.read("get", "nodes", "-o", "wide"), end="")
        waiting = addons.not_running(self.kubectl)
        print("All pods run." if not waiting else "Not running:\n  " + "\n  ".join(waiting))
        return 1 if waiting else 0

    def facts(self) -> dict[str, object]:
        """What tests and people need to know, for `facts.json`."""
        return {"backend": self.name, "node_pid": self._sandbox.pid}


def _require_linux_root() -> None:
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise StepError("the native cluster runs on Linux on x86-64 only", advice="Start Docker: then kind is used.")
    if os.geteuid() != 0:
        raise StepError(
            "the native cluster makes network namespaces and control groups, which takes root",
            advice="Run make as root (sudo -E make up), or start Docker: then kind is used.",
        )
