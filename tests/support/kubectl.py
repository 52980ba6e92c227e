"""A thin wrapper around the kubectl binary: tests see what a kubectl user sees."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class KubectlError(AssertionError):
    """kubectl exited non-zero; `stderr` is the sentence that the user gets."""

    def __init__(self, args: tuple[str, ...], stdout: str, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(args)}\n{stdout}{stderr}")
        self.stdout = stdout
        self.stderr = stderr


@dataclass(frozen=True)
class Kubectl:
    """kubectl bound to one kubeconfig."""

    binary: Path
    kubeconfig: Path

    def run(self, *args: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
        """Run kubectl and return its standard output; raise `KubectlError` when it fails and `check` is set."""
        done = subprocess.run(
            [str(self.binary), *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if check and done.returncode != 0:
            raise KubectlError(args, done.stdout, done.stderr)
        return done.stdout

    def refused(self, *args: str, stdin: str | None = None) -> str:
        """Run a command that must fail; return the error text that the user reads."""
        try:
            out = self.run(*args, stdin=stdin)
        except KubectlError as error:
            return error.stderr
        raise AssertionError(f"kubectl {' '.join(args)} was expected to be refused, but said: {out}")

    def json(self, *args: str) -> Any:
        """Run kubectl with `-o json` and parse the answer."""
        return json.loads(self.run(*args, "-o", "json"))

    def items(self, *args: str) -> list[dict[str, Any]]:
        """`kubectl get ARGS` as a list of objects; an empty list when there are none."""
        found = json.loads(self.run("get", *args, "-o", "json", "--ignore-not-found") or '{"items":[]}')
        items: list[dict[str, Any]] = found.get("items", [found])
        return items

    def apply(self, manifest: str | dict[str, Any]) -> str:
        """`kubectl apply -f -` with a manifest as text or as a dict."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.run("apply", "-f", "-", stdin=text)

    def exec(self, namespace: str, pod: str, *command: str, timeout: float = 60, check: bool = True) -> str:
        """Run a command inside a pod."""
        return self.run("exec", "-n", namespace, pod, "--", *command, timeout=timeout, check=check)

    def wait_ready(self, kind: str, name: str, timeout: int = 180) -> None:
        """`kubectl wait --for=condition=Ready`."""
        self.run("wait", "--for=condition=Ready", f"{kind}/{name}", f"--timeout={timeout}s", timeout=timeout + 20)


def eventually(probe: Callable[[], T], *, timeout: float = 60, every: float = 0.5, what: str = "") -> T:
    """Call `probe` until it neither raises nor returns a false value; return its value."""
    deadline = time.monotonic() + timeout
    last: BaseException | T | None = None
    while time.monotonic() < deadline:
        try:
            value = probe()
        except Exception as error:
            last = error
        else:
            if value:
                return value
            last = value
        time.sleep(every)
    raise AssertionError(f"{what or probe}: not so after {timeout} s; last: {last!r}")
