"""Asking a tenant's address through the gateway's port on this machine."""

from __future__ import annotations

import http.server
import io
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.cluster.config import Cluster
from hack.cluster.pki import Pki
from hack.cluster.reach import is_ours, log_in_page_answers
from hack.cluster.steps import Steps
from tests.support.ports import free_port


def made(cluster: Cluster) -> Cluster:
    """With the gateway's authority and certificate."""
    cluster.logs.mkdir(parents=True)
    Pki(cluster, Steps(cluster.logs, out=io.StringIO())).ensure_gateway()
    return cluster


@contextmanager
def gateway(cluster: Cluster, answers: dict[str, int]) -> Iterator[int]:
    """Something that answers by host name, with the certificate of the cluster's gateway; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/login" and self.headers["Host"] in answers
            self.send_response(answers[self.headers["Host"]] if known else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cluster.pki / "gateway.crt", cluster.pki / "gateway.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_only_a_log_in_page_counts(tmp_path: Path) -> None:
    cluster = made(Cluster("test", tmp_path))
    ca = cluster.state / "ca.crt"
    answers = {"aozora.elink.localhost": 503}
    with gateway(cluster, answers) as port:
        url = f"https://aozora.elink.localhost:{port}"
        assert not log_in_page_answers(url, ca), "the gateway does not know the pod yet"
        answers["aozora.elink.localhost"] = 200
        assert log_in_page_answers(url, ca)
        assert not log_in_page_answers(f"https://midori.elink.localhost:{port}", ca), "it does not know the route"


def test_a_certificate_of_others_does_not_count(tmp_path: Path) -> None:
    ours, theirs = made(Cluster("test", tmp_path / "ours")), made(Cluster("test", tmp_path / "theirs"))
    with gateway(theirs, {"aozora.elink.localhost": 200, "aozora.example.jp": 200}) as port:
        assert log_in_page_answers(f"https://aozora.elink.localhost:{port}", theirs.state / "ca.crt")
        assert not log_in_page_answers(f"https://aozora.elink.localhost:{port}", ours.state / "ca.crt")
        assert not log_in_page_answers(f"https://aozora.example.jp:{port}", theirs.state / "ca.crt"), "not its name"


def test_nothing_there_is_no_answer(tmp_path: Path) -> None:
    cluster = made(Cluster("test", tmp_path))
    assert not log_in_page_answers(f"https://aozora.elink.localhost:{free_port()}", cluster.state / "ca.crt")


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://aozora.elink.localhost:18443", True),
        ("https://aozora.elink.localhost:8443", False),
        ("https://aozora.elink.localhost", False),
        ("https://aozora.elink.example.jp:18443", False),
        ("https://evilelink.localhost:18443", False),
        ("", False),
    ],
)
def test_addresses_of_this_cluster(tmp_path: Path, url: str, *, ours: bool) -> None:
    assert is_ours(Cluster("test", tmp_path), url) is ours
