"""A small API server that serves LIST and WATCH and misbehaves on demand: what a real one cannot be made to do."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.netpol.builders import Obj
from tests.support.ports import free_port

PATHS = {
    "/api/v1/pods": "pods",
    "/api/v1/namespaces": "namespaces",
    "/apis/networking.k8s.io/v1/networkpolicies": "networkpolicies",
}


class FakeApi:
    """Objects, their history, and the faults. Listens on loopback of the namespace that it is made in.

    `failures`: answers to give instead, in order, as (status, Retry-After). `page`: items of a LIST page at most.
    `requests` counts "list pods", "watch pods" and so on; `silent`: watches send nothing any more.
    """

    def __init__(self, port: int = 0, version: int = 100) -> None:
        self._condition = threading.Condition()
        self._objects: dict[str, dict[tuple[str, str], Obj]] = {kind: {} for kind in PATHS.values()}
        self._history: dict[str, list[tuple[int, str, Obj]]] = {kind: [] for kind in PATHS.values()}
        self._version = version
        self._horizon = 0
        self._epoch = 0
        self._cut_inside = False
        self._error_event: Obj | None = None
        self.failures: list[tuple[int, str]] = []
        self.page = 500
        self.silent = False
        self.requests: Counter[str] = Counter()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port or free_port()), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on, and cut those that exist."""
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def kubeconfig(self, path: Path) -> Path:
        server = f"http://127.0.0.1:{self.port}"
        path.write_text(
            json.dumps(
                {
                    "current-context": "it",
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                    "clusters": [{"name": "it", "cluster": {"server": server}}],
                    "users": [{"name": "it", "user": {"token": "t0ken"}}],
                }
            )
        )
        return path

    # -- changes

    def put(self, kind: str, obj: Obj) -> int:
        """Create or replace; give the resource version."""
        with self._condition:
            key = _key(obj)
            return self._event(kind, "MODIFIED" if key in self._objects[kind] else "ADDED", obj)

    def delete(self, kind: str, name: str, namespace: str = "") -> int:
        with self._condition:
            return self._event(kind, "DELETED", self._objects[kind][namespace, name])

    def bookmark(self, kind: str) -> int:
        with self._condition:
            return self._event(kind, "BOOKMARK", {"metadata": {}})

    def _event(self, kind: str, event: str, obj: Obj) -> int:
        self._version += 1
        copy = json.loads(json.dumps(obj))
        copy["metadata"]["resourceVersion"] = str(self._version)
        if event == "DELETED":
            del self._objects[kind][_key(obj)]
        elif event != "BOOKMARK":
            self._objects[kind][_key(obj)] = copy
        self._history[kind].append((self._version, event, copy))
        self._condition.notify_all()
        return self._version

    # -- faults

    def cut(self, *, inside_an_event: bool = False, error: Obj | None = None) -> None:
        """End every watch: cleanly, in the middle of a line, or after an ERROR event with the status `error`."""
        with self._condition:
            self._epoch += 1
            self._cut_inside, self._error_event = inside_an_event, error
            self._condition.notify_all()

    def forget_history(self) -> None:
        """Like etcd's compaction: a watch from an older version gets 410."""
        with self._condition:
            self._version += 1
            self._horizon = self._version

    # -- service

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        kind = PATHS[url.path]
        watching = "watch" in query
        with self._condition:
            self.requests[f"{'watch' if watching else 'list'} {kind}"] += 1
            failure = self.failures.pop(0) if self.failures else None
            # With the count: whoever waits for the count and cuts then, cuts this watch too.
            epoch = self._epoch
        if failure is None and request.headers.get("Authorization") != "Bearer t0ken":
            failure = (401, "")
        if failure is None and watching and int(query["resourceVersion"]) < self._horizon:
            failure = (410, "")
        try:
            if failure is not None:
                _answer(request, failure[0], {"message": "injected"}, {"Retry-After": failure[1]} if failure[1] else {})
            elif watching:
                self._watch(request, kind, int(query["resourceVersion"]), epoch)
            else:
                self._list(request, kind, query)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _list(self, request: BaseHTTPRequestHandler, kind: str, query: dict[str, str]) -> None:
        with self._condition:
            items = list(self._objects[kind].values())
            version = str(self._version)
        start, count = int(query.get("continue") or 0), min(int(query["limit"]), self.page)
        more = {"continue": str(start + count)} if start + count < len(items) else {}
        _answer(request, 200, {"metadata": {"resourceVersion": version, **more}, "items": items[start : start + count]})

    def _watch(self, request: BaseHTTPRequestHandler, kind: str, version: int, epoch: int) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while True:
            with self._condition:
                while not (news := self._news(kind, version)) and self._epoch == epoch:
                    self._condition.wait(5)
                ended, inside, error = self._epoch != epoch, self._cut_inside, self._error_event
            if ended:
                if inside:
                    _chunk(request, b'{"type": "ADDED", "object": {"meta')
                elif error:
                    _chunk(request, json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
                request.close_connection = True
                return
            for _, event, obj in news:
                _chunk(request, json.dumps({"type": event, "object": obj}).encode() + b"\n")
            version = news[-1][0]

    def _news(self, kind: str, version: int) -> list[tuple[int, str, Obj]]:
        return [] if self.silent else [item for item in self._history[kind] if item[0] > version]


def _key(obj: Obj) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _chunk(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    request.wfile.flush()


def _answer(request: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    data = json.dumps(body).encode()
    request.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


def eventually(condition: Any, seconds: float = 60.0) -> float:
    """Wait until `condition()` holds; give how long it took, or fail."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - start
