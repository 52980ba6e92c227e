"""The real kube-controller-manager beside a test API server: Deployments, Jobs, garbage collection, namespaces."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.apiserver import ApiServer, program
from tests.support.ports import free_port

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
)
_START_SECONDS = 60


@contextmanager
def controllers(server: ApiServer) -> Iterator[None]:
    """Run the controllers that matter to the operator until the block ends."""
    log = server.folder / "kube-controller-manager.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL",
                str(program("kube-controller-manager")),
                f"--kubeconfig={server.kubeconfig}",
                f"--controllers={','.join(CONTROLLERS)}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                f"--cert-dir={server.folder / 'kcm'}",
                "--concurrent-gc-syncs=5",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while '"Starting controller" controller="deployment"' not in log.read_text(errors="replace"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"kube-controller-manager does not start:\n{log.read_text()[-3000:]}")
            if process.poll() is not None:
                raise RuntimeError(f"kube-controller-manager ended at start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()
