"""LIST and WATCH of one kind, for ever: re-list on 410, resume on a cut, back off on errors."""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .kubeconfig import Access
from .model import Obj, parse_namespace, parse_pod, parse_policy, refusing
from .store import NAMESPACES, PODS, POLICIES, Key, Store

log = logging.getLogger("netpol")

PAGE = 500
# The server ends a watch after this time; a link that died silently is noticed READ_SLACK later at the latest.
WATCH_SECONDS = 60
READ_SLACK = 15
SHORTEST_WATCH = 0.5
CALL_SECONDS = 30.0
# Answers that say nothing against our resource version; after any other refusal of a watch, list again.
PASSING = (401, 403, 429, 500, 503)
FIRST_DELAY, LAST_DELAY = 0.05, 1.0
# What an API call raises when the network, the server or the answer is bad.
FAULTS = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


class GoneError(Exception):
    """The server no longer has the changes since our resource version."""


class ApiError(http.client.HTTPException):
    """An answer that is no success; `retry_after` in seconds as the server wishes."""

    def __init__(self, status: int, text: str, retry_after: float = 0.0) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class Kind:
    """A watched kind: its collection path and how an object becomes a value of the model."""

    name: str
    path: str
    parse: Callable[[Obj], Any]


def _policy(obj: Obj) -> Any:
    try:
        return parse_policy(obj)
    except FAULTS as error:
        meta = obj["metadata"]
        log.error("policy %s/%s is not understood, its namespace is closed: %r", meta["namespace"], meta["name"], error)
        return refusing(meta["namespace"], meta["name"])


WATCHED = (
    Kind(PODS, "/api/v1/pods", parse_pod),
    Kind(NAMESPACES, "/api/v1/namespaces", parse_namespace),
    Kind(POLICIES, "/apis/networking.k8s.io/v1/networkpolicies", _policy),
)


class Watcher(threading.Thread):
    """Keeps one kind of `store` up to date. A daemon thread: it ends with the process, or after `stopped` is set."""

    def __init__(self, access: Access, kind: Kind, store: Store) -> None:
        super().__init__(name=f"watch-{kind.name}", daemon=True)
        self._access, self._kind, self._store = access, kind, store
        self._version = ""
        self._delay = 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except GoneError as error:
                log.info("%s: %s; listing again", self._kind.name, error)
                self._version = ""
                # A server that answers 410 to every watch must not be listed in a tight loop.
                self._rest(0.0)
            except Exception as error:  # a watch that died of a surprise would leave the agent blind without a word
                if not isinstance(error, FAULTS):
                    log.exception("%s: unexpected", self._kind.name)
                if isinstance(error, ApiError) and error.status not in PASSING:
                    self._version = ""
                wait = self._rest(getattr(error, "retry_after", 0.0))
                log.warning("%s: %s; tried again after %.2f s", self._kind.name, error or repr(error), wait)

    def _rest(self, at_least: float) -> float:
        """Sleep the back-off, which doubles until something arrives again; give what was slept, seconds."""
        self._delay = min(max(self._delay * 2, FIRST_DELAY), LAST_DELAY)
        wait = max(self._delay * random.uniform(0.5, 1.0), min(at_least, LAST_DELAY))  # noqa: S311
        self.stopped.wait(wait)
        return wait

    def _list(self) -> None:
        found: dict[Key, Any] = {}
        version, page = "", ""
        while True:
            query = {"limit": str(PAGE), **({"continue": page} if page else {})}
            with _Call(self._access, self._kind.path, query, CALL_SECONDS) as response:
                answer = json.load(response)
            for obj in answer.get("items") or ():
                found[_key(obj)] = self._kind.parse(obj)
            version, page = answer["metadata"]["resourceVersion"], answer["metadata"].get("continue") or ""
            if not page:
                break
        self._store.replace(self._kind.name, found, version)
        self._version = version
        log.info("%s: listed %d at %s", self._kind.name, len(found), version)

    def _watch(self) -> None:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        start = time.monotonic()
        with _Call(self._access, self._kind.path, query, WATCH_SECONDS + READ_SLACK) as response:
            for line in _lines(response):
                self._event(json.loads(line))
                self._delay = 0.0
        if time.monotonic() - start < SHORTEST_WATCH:
            raise ConnectionResetError("watch ended as soon as it began")

    def _event(self, event: Obj) -> None:
        obj, name = event["object"], self._kind.name
        if event["type"] == "ERROR":
            if obj.get("code") == 410:
                raise GoneError(obj.get("message") or "too old")
            raise ApiError(int(obj.get("code") or 500), str(obj.get("message")))
        version = obj["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            self._store.seen(name, version)
        elif event["type"] == "DELETED":
            self._store.remove(name, _key(obj), version)
        else:
            self._store.put(name, _key(obj), self._kind.parse(obj), version)
        self._version = version


class _Call:
    """One GET as a context manager that gives the response; raises GoneError on 410 and ApiError on other failures."""

    def __init__(self, access: Access, path: str, query: dict[str, str], read_seconds: float) -> None:
        self._access, self._read_seconds = access, read_seconds
        self._target = f"{access.prefix}{path}?{urlencode(query)}"
        self._connection = access.connect()

    def __enter__(self) -> http.client.HTTPResponse:
        try:
            self._connection.connect()
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._connection.sock.settimeout(self._read_seconds)
            self._connection.request("GET", self._target, headers=self._access.headers())
            response = self._connection.getresponse()
            if response.status == 410:
                raise GoneError("HTTP 410")
            if response.status != 200:
                wish = response.headers.get("Retry-After", "")
                text = response.read(300).decode(errors="replace").strip()
                raise ApiError(response.status, text, float(wish) if wish.isdigit() else 0.0)
        except BaseException:
            self._connection.close()
            raise
        return response

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _key(obj: Obj) -> Key:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give whole lines; a last one without its end was cut by the network, and is asked for again."""
    while line := response.readline():
        if not line.endswith(b"\n"):
            raise ConnectionResetError("watch cut inside an event")
        yield line
