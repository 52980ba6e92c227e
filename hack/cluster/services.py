"""Definitions that the node's process 1 keeps running, and the wait until each one serves."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.config import Cluster
from hack.cluster.steps import StepError, tail, wait_for, write_atomic

STATE = Path("/run/elink/state")
PROGRAMS = Path("/run/elink/cache/bin")


@dataclass(frozen=True)
class Services:
    """The folder of definitions of one cluster."""

    cluster: Cluster

    def define(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> bool:
        """Have a service run with these arguments; a running one is restarted only when they changed."""
        text = json.dumps({"argv": list(argv), "env": dict(env or {})}, indent=1)
        return write_atomic(self.cluster.state / "services" / f"{name}.json", text, 0o600)

    def log(self, name: str) -> Path:
        """The output of a service."""
        return self.cluster.logs / f"{name}.log"

    def wait_http(self, name: str, url: str, *, timeout: float = 60, ca: Path | None = None) -> None:
        """Wait until `url` answers 200; the error names the service's log and its last line."""
        context = ssl.create_default_context(cafile=str(ca)) if ca else None

        def answers() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        try:
            wait_for(answers, timeout=timeout, what=f"{name} answers at {url}", log=self.log(name))
        except StepError as error:
            raise StepError(f"{error}; its log ends with: {tail(self.log(name), 2)}", log=self.log(name)) from error
