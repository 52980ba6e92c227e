"""Certificates of home-made authorities are judged as kubectl, libpq and mail servers judge them."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from elink_app.mail.smtp import Relay
from elink_operator.trust import client_context

from tests.support.certificates import Authority


def served(listener: socket.socket, certificate: Path, key: Path) -> None:
    """One TLS handshake; the test's own end says how it went."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listener, listener.accept()[0] as plain, suppress(OSError):
        context.wrap_socket(plain, server_side=True).recv(1)


@pytest.mark.parametrize("which", ["operator", "tenant app"])
def test_without_key_identifiers_by_the_default_of_newer_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("home-made")
    lenient = ssl.create_default_context

    def strict(*args: object, **kwargs: object) -> ssl.SSLContext:
        """What Python 3.13, which the images have, makes of it."""
        context = lenient(*args, **kwargs)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    contexts = {
        "operator": lambda: client_context(file=str(authority.certificate)),
        "tenant app": lambda: Relay("localhost", authority=authority.certificate).tls_context(),
    }
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=served, args=(listener, certificate, key), daemon=True).start()
    with (
        socket.create_connection(listener.getsockname(), timeout=10) as plain,
        contexts[which]().wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version()


def test_another_authority_is_still_refused(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    certificate, key = Authority(ours).issue("home-made")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=served, args=(listener, certificate, key), daemon=True).start()
    context = client_context(file=str(Authority(other).certificate))
    with (
        socket.create_connection(listener.getsockname(), timeout=10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")
