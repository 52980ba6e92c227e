"""kubectl and helm bound to one cluster's kubeconfig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hack.cluster.steps import Steps, read, succeeds


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl with output in the step's log, or returned."""

    program: Path
    kubeconfig: Path
    steps: Steps

    def _command(self, *arguments: str | Path) -> list[str]:
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> None:
        """Run; `StepError` when it fails."""
        self.steps.run(*self._command(*arguments))

    def read(self, *arguments: str | Path, check: bool = True) -> str:
        """What it prints."""
        return read(*self._command(*arguments), check=check, timeout=120)

    def ok(self, *arguments: str | Path) -> bool:
        """Whether it exits with 0."""
        return succeeds(*self._command(*arguments))

    def apply_text(self, text: str) -> None:
        """`kubectl apply -f -`."""
        self.steps.run(*self._command("apply", "-f", "-"), stdin=text)

    def apply_file(self, path: Path, *flags: str) -> None:
        """`kubectl apply -f PATH`."""
        self.run("apply", *flags, "-f", path)
