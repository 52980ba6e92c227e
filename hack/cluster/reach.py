"""Whether a tenant's address answers through the gateway, as a browser on this machine would see it."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from hack.cluster.config import BASE_DOMAIN, Cluster

_SECONDS = 5


def is_ours(cluster: Cluster, url: str) -> bool:
    """Whether `url` leads to this cluster's gateway: with values of their own a user may have given it another name."""
    parts = urlsplit(url)
    return (parts.hostname or "").endswith(f".{BASE_DOMAIN}") and parts.port == cluster.https_port


def log_in_page_answers(url: str, ca: Path) -> bool:
    """Whether the log-in page answers 200, with a certificate of `ca`. 127.0.0.1 is asked, whatever the name means."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None  # noqa: S101 - for the type checker
    context = ssl.create_default_context(cafile=str(ca))
    try:
        with (
            socket.create_connection(("127.0.0.1", port or 443), timeout=_SECONDS) as bare,
            context.wrap_socket(bare, server_hostname=host) as sealed,
        ):
            connection = http.client.HTTPConnection(host)
            connection.sock = sealed
            connection.request("GET", "/login")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
