"""Process 1 of the node: prepares the node's private view of the file system and keeps the node's services running.

Runs inside new network, mount, PID, IPC and UTS namespaces, so it and everything below it (services, containers,
mounts) end together when it is killed. Alone in its file: it is started by path, with nothing else to import.

A service is a file `services/<name>.json`: {"argv": [...], "env": {...}}. A new or changed file (re)starts the service,
a removed file stops it, and a service that ends is started again. Output goes to `logs/<name>.log`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

STATE = Path("/run/elink/state")
CACHE = Path("/run/elink/cache")
CODE = Path("/run/elink/code")
_GRACE = 20.0
_LOG_LIMIT = 64 * 1024 * 1024


def mount(*arguments: str) -> None:
    """Run mount(8), without its notes below /run, which is being replaced; its own words say why it failed."""
    subprocess.run(["mount", "--no-mtab", *arguments], check=True)


def prepare(state: Path, cache: Path, code: Path, hostname: str) -> None:
    """Give the node its own /run, /var and places for data, seen by nobody outside and gone when it ends."""
    staging = state / "data" / "mnt"
    staging.mkdir(parents=True, exist_ok=True)
    # Built aside and moved at once: the checkout or the cache may lie below /run or /var themselves. Only after the
    # move may mounts be shared (with containers): the kernel refuses to move a mount whose parent is shared.
    mount("-t", "tmpfs", "-o", "mode=755", "elink", str(staging))
    for name, source in (("state", state), ("cache", cache), ("code", code)):
        target = staging / "elink" / name
        target.mkdir(parents=True)
        mount("--bind", str(source), str(target))
    mount("--move", str(staging), "/run")
    for folder in ("upper", "work"):
        (Path("/run/elink") / folder).mkdir()
    mount("-t", "overlay", "-o", "lowerdir=/var,upperdir=/run/elink/upper,workdir=/run/elink/work", "elink", "/var")
    for name, place in (
        ("containerd", "/var/lib/containerd"),
        ("kubelet", "/var/lib/kubelet"),
        ("pods", "/var/log/pods"),
        ("volumes", "/var/lib/elink-volumes"),
    ):
        source = STATE / "data" / name
        source.mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(source), place)
    mount("--make-rshared", "/")
    subprocess.run(["hostname", hostname], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


@dataclass
class Service:
    """One supervised process."""

    name: str
    definition: str
    pid: int = 0
    failures: int = 0
    started: float = 0.0
    not_before: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, its output appended to its log."""
        spec = json.loads(self.definition)
        log = STATE / "logs" / f"{self.name}.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            process = subprocess.Popen(
                spec["argv"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **spec.get("env", {})},
            )
        # Reaping is done by `Supervisor.reap` for all children alike.
        process.returncode = 0
        self.pid, self.started = process.pid, time.monotonic()

    def ended(self) -> None:
        """Note that the process is gone; the next start waits longer after each quick death."""
        now = time.monotonic()
        self.failures = 0 if now - self.started > 30 else self.failures + 1
        self.not_before = now + min(0.2 * 2**self.failures, 10.0)
        self.pid = 0


@dataclass
class Supervisor:
    """The services by name, compared with the folder of definitions a few times a second."""

    folder: Path
    services: dict[str, Service] = field(default_factory=dict)
    stopping: bool = False

    def wanted(self) -> dict[str, str]:
        """Definitions by name."""
        found = {}
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found[path.stem] = path.read_text()
        return found

    def reap(self) -> None:
        """Collect every ended child, orphans of containers included."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self.services.values():
                if service.pid == pid:
                    service.ended()

    def tick(self) -> None:
        """One comparison: stop what is not wanted or changed, start what is not running."""
        self.reap()
        wanted = {} if self.stopping else self.wanted()
        for name, service in list(self.services.items()):
            if wanted.get(name) != service.definition:
                self.stop(service)
                del self.services[name]
        for name, definition in wanted.items():
            service = self.services.setdefault(name, Service(name, definition))
            if service.pid == 0 and time.monotonic() >= service.not_before:
                try:
                    service.start()
                except (OSError, ValueError, KeyError) as error:
                    print(f"{name}: {error}", flush=True)
                    service.started = time.monotonic()
                    service.ended()

    def stop(self, service: Service) -> None:
        """End a process, gently first."""
        deadline = time.monotonic() + _GRACE
        sign = signal.SIGTERM
        while service.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(service.pid, sign)
            time.sleep(0.05)
            self.reap()
            if time.monotonic() > deadline:
                sign = signal.SIGKILL


def main(arguments: Sequence[str]) -> int:
    """`init.py STATE CACHE CODE HOSTNAME`."""
    state, cache, code, hostname = arguments
    prepare(Path(state), Path(cache), Path(code), hostname)
    supervisor = Supervisor(STATE / "services")

    def stop(*_: object) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print("the node is prepared", flush=True)
    while not supervisor.stopping:
        supervisor.tick()
        time.sleep(0.1)
    supervisor.tick()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
