"""The agent: watches, one renderer, one status file."""

from __future__ import annotations

import argparse
import ipaddress
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from . import filter as packet_filter
from .announce import Announcements
from .compile import compile_world
from .kubeconfig import KubeconfigError, load
from .model import Network, World
from .render import render, size
from .store import Store, View
from .watch import WATCHED, Watcher

log = logging.getLogger("netpol")

EXIT_CONFIG, EXIT_FILTER = 2, 3
# Changes come in bursts (a namespace is deleted, a deployment scales): wait a moment for the rest, but not for ever.
QUIET_SECONDS, LONGEST_SECONDS = 0.02, 0.15
HEARTBEAT_SECONDS = 5.0
FIRST_RETRY, LAST_RETRY = 0.2, 2.0


class Agent:
    """Renders what the store holds into the kernel, and says so in the ready file."""

    def __init__(self, store: Store, ready_file: Path | None, max_failures: int) -> None:
        self._store, self._ready_file, self._max_failures = store, ready_file, max_failures
        self._text = ""
        self._generation = -1
        self._applied_at = 0.0
        self._since = 0.0
        self._checked = 0.0

    def lock_up(self, pod_cidrs: tuple[Network, ...]) -> None:
        """Before anything is known, refuse all new traffic of pods, unless a former agent left its rules."""
        self._forget_status()
        if not packet_filter.present():
            packet_filter.load(render(compile_world(World(pod_cidrs=pod_cidrs))))
            log.info("closed for pods until every policy is known")

    def run(self) -> int:
        """Render for ever; give an exit code only when nft refused `max_failures` times in a row."""
        tick, failures = -1, 0
        while True:
            arrived = self._store.wait(tick, HEARTBEAT_SECONDS)
            if not self._store.synced:
                continue
            if arrived:
                self._settle()
            tick, view = self._store.view()
            try:
                self._refresh(view)
                failures = 0
            except packet_filter.FilterError as error:
                failures += 1
                log.error("rules not loaded, the former ones stay (failure %d): %s", failures, error)
                if failures >= self._max_failures:
                    return EXIT_FILTER
                tick = -1
                time.sleep(min(FIRST_RETRY * 2 ** (failures - 1), LAST_RETRY))

    def _settle(self) -> None:
        end = time.monotonic() + LONGEST_SECONDS
        while (left := end - time.monotonic()) > 0 and self._store.wait(self._store.tick, min(QUIET_SECONDS, left)):
            pass

    def _refresh(self, view: View) -> None:
        self._since = self._since or view.since
        if self._flushed():
            self._text = ""
        if view.generation != self._generation or not self._text:
            self._apply(view)
            self._since = 0.0
        self._generation = view.generation
        self._store.loaded(view.generation)
        self._write_status(view)

    def _flushed(self) -> bool:
        """Whether somebody else removed the table; asked now and then only, as it costs a process."""
        if time.monotonic() - self._checked < HEARTBEAT_SECONDS:
            return False
        self._checked = time.monotonic()
        return not packet_filter.present()

    def _apply(self, view: View) -> None:
        start = time.monotonic()
        ruleset = compile_world(view.world)
        text = render(ruleset)
        rendered = time.monotonic()
        loaded = text != self._text
        if loaded:
            packet_filter.load(text)
            self._text, self._applied_at, self._checked = text, time.time(), time.monotonic()
        end = time.monotonic()
        chains, elements = size(ruleset)
        log.info(
            "generation=%d %s pods=%d isolated_in=%d isolated_out=%d policies=%d chains=%d elements=%d "
            "render_ms=%.1f nft_ms=%.1f lag_ms=%.0f",
            view.generation, "loaded" if loaded else "unchanged", len(ruleset.pods), len(ruleset.ingress),
            len(ruleset.egress), len(view.world.policies), chains, elements,
            (rendered - start) * 1000, (end - rendered) * 1000, (end - self._since) * 1000 if self._since else 0.0,
        )  # fmt: skip

    def _write_status(self, view: View) -> None:
        if self._ready_file is None:
            return
        status = {
            "generation": view.generation,
            "resourceVersions": dict(view.versions),
            "appliedAt": self._applied_at,
            "heartbeat": time.time(),
            "pid": os.getpid(),
        }
        part = self._ready_file.with_name(self._ready_file.name + ".part")
        try:
            part.write_text(json.dumps(status) + "\n")
            part.replace(self._ready_file)
        except OSError as error:  # a full disk: the rules are loaded all the same, and so are the next ones
            log.warning("status not written: %s", error)

    def _forget_status(self) -> None:
        if self._ready_file is not None:
            self._ready_file.parent.mkdir(parents=True, exist_ok=True)
            self._ready_file.unlink(missing_ok=True)

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler. The rules stay: a pod must not become reachable because its guard is being restarted."""
        log.info("stopped by signal %d; the rules stay", number)
        self._forget_status()
        logging.shutdown()
        os._exit(0)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="netpol", description="Enforce NetworkPolicies in this network namespace.")
    parser.add_argument("--kubeconfig", required=True, type=Path, help="client certificate or token of the agent")
    parser.add_argument(
        "--pod-cidr", required=True, action="append", type=ipaddress.ip_network,
        help="range of pod addresses, repeatable; an address in it that no known pod has is refused",
    )  # fmt: skip
    parser.add_argument("--node-name", default="", help="isolate this node's pods only (default: all pods)")
    parser.add_argument("--ready-file", type=Path, help="JSON, written after each load and every 5 s")
    parser.add_argument("--cni-socket", type=Path, help="where the CNI plugin cni.py announces new pods")
    parser.add_argument("--max-failures", type=int, default=10, help="exit with 3 after so many failures of nft")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; 0 after SIGTERM or SIGINT, 2 for a bad configuration, 3 when nft fails for good."""
    options = parse_arguments(arguments)
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    pod_cidrs = tuple(options.pod_cidr)
    store = Store(pod_cidrs, options.node_name)
    agent = Agent(store, options.ready_file, options.max_failures)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, agent.stop)
    try:
        access = load(options.kubeconfig)
        agent.lock_up(pod_cidrs)
        if options.cni_socket is not None:
            Announcements(options.cni_socket, store).start()
    except (KubeconfigError, packet_filter.FilterError, OSError) as error:
        log.error("%s", error)
        return EXIT_FILTER if isinstance(error, packet_filter.FilterError) else EXIT_CONFIG
    for kind in WATCHED:
        Watcher(access, kind, store).start()
    return agent.run()
