"""What a process has used, read from /proc (Linux)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.config import ROOT, cache_dir

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU in seconds (user + system, threads included), memory in MiB now and at its highest."""

    cpu: float
    rss: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Usage of a living process."""
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        lines = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm")
        )
        return cls(
            (int(fields[11]) + int(fields[12])) / _TICK,
            int(lines["VmRSS"].split()[0]) / 1024,
            int(lines["VmHWM"].split()[0]) / 1024,
        )


def image_python() -> Path:
    """A Python with the packages of the operator's image and no others: those of the tests cost 4 MiB more.

    Made once per lock file, in the cache.
    """
    lock = ROOT / "requirements" / "operator.lock"
    folder = cache_dir() / "venvs" / f"operator-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
        done.touch()
    return python


def machine() -> str:
    """One line about this machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {os.uname().release}"


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0-1) of `values` do not exceed; `ValueError` for no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
