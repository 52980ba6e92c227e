"""The product on a cluster: images, charts, examples, and the table at the end."""

from __future__ import annotations

from hack.cluster.backend import Backend
from hack.cluster.config import Cluster
from hack.cluster.steps import Steps


def deploy(cluster: Cluster, backend: Backend, steps: Steps) -> None:
    """To be continued."""
    raise NotImplementedError
