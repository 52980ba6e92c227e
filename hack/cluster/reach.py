"""Asking a tenant's address through the gateway's port on this machine, as a browser here would."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from hack.cluster.config import BASE_DOMAIN, Cluster


class Loopback(http.client.HTTPSConnection):
    """HTTPS to 127.0.0.1 with another name in SNI and in the certificate check."""

    def __init__(self, name: str, port: int, ca: Path, *, timeout: float) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        super().__init__("127.0.0.1", port, context=context, timeout=timeout)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        """Connect, and check the certificate against the name."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def is_ours(cluster: Cluster, url: str) -> bool:
    """Whether `url` leads to this cluster's gateway: with values of their own a user may have given it another name."""
    parts = urlsplit(url)
    return (parts.hostname or "").endswith(f".{BASE_DOMAIN}") and parts.port == cluster.https_port


def log_in_page_answers(url: str, ca: Path) -> bool:
    """Whether the log-in page of a tenant at `url`, which names a port, answers 200, with a certificate of `ca`."""
    parts = urlsplit(url)
    assert parts.hostname is not None  # noqa: S101 - both for the type checker
    assert parts.port is not None  # noqa: S101
    connection = Loopback(parts.hostname, parts.port, ca, timeout=5)
    try:
        connection.request("GET", "/login", headers={"Host": parts.hostname})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
