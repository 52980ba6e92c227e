"""The agent's end of the CNI plugin: takes the address of a pod that starts, answers when its rules are loaded."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socketserver
import threading
from pathlib import Path

from .store import Announcement, Store

log = logging.getLogger("netpol")

# How long a pod that the kubelet knows may be missing from our watch, and its rules from the kernel.
SECONDS = 6.0
LONGEST_MESSAGE = 4096


class Announcements(socketserver.ThreadingUnixStreamServer):
    """A Unix socket that only root may use; one line of JSON in, one out."""

    daemon_threads = True

    def __init__(self, path: Path, store: Store) -> None:
        self.store = store
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        former = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        finally:
            os.umask(former)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="announcements", daemon=True).start()


class _Handler(socketserver.StreamRequestHandler):
    server: Announcements
    timeout = SECONDS

    def handle(self) -> None:
        try:
            message = json.loads(self.rfile.readline(LONGEST_MESSAGE))
            announcement = Announcement(
                str(message["uid"]), tuple(ipaddress.ip_address(item) for item in message["addresses"])
            )
            key = (str(message["namespace"]), str(message["name"]))
        except (ValueError, KeyError, TypeError) as error:
            self._answer({"error": f"message not understood: {error!r}"})
            return
        if self.server.store.announce(key, announcement, SECONDS):
            self._answer({"loaded": True})
        else:
            log.warning("pod %s/%s announced, but not known or its rules not loaded in %.0f s", *key, SECONDS)
            self._answer({"error": f"no rules for pod {key[0]}/{key[1]} after {SECONDS:.0f} s"})

    def _answer(self, answer: dict[str, object]) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")
