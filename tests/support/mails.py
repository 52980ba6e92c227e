"""Mails on the real cluster: what the sink holds, and bounces that come back; HTTPS clients of tenants' hosts."""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.support.live import Live
from tests.tenant_app.mail.reports import dsn


def client(live: Live, host: str) -> httpx.Client:
    """A client of one host: names under .localhost are not in every resolver, so the address is given."""

    def named(request: httpx.Request) -> None:
        request.headers["Host"] = f"{host}:{live.https_port}"
        request.extensions["sni_hostname"] = host

    context = ssl.create_default_context(cafile=str(live.ca))
    return httpx.Client(
        base_url=f"https://127.0.0.1:{live.https_port}", verify=context, event_hooks={"request": [named]}, timeout=20
    )


def mailpit(live: Live, path: str) -> Any:
    """What the sink's API answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{live.mail_port}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)


def mails(live: Live, to: str) -> list[dict[str, Any]]:
    """What the sink holds for addresses of this domain."""
    asked = urlencode({"query": f"to:{to.lstrip('@')}", "limit": 5000})
    found: list[dict[str, Any]] = mailpit(live, f"search?{asked}")["messages"]
    return [mail for mail in found if any(who["Address"].endswith(to) for who in mail["To"])]


def hand_over(live: Live, server: str, recipient: str) -> None:
    """Bring a bounce to a server as the relay does: from the relay's pod, over SMTP."""
    relay = f"inbound.elink-srv-{server}.svc:25"
    live.kubectl.run(
        "exec", "-i", "-n", "elink-mail", "deploy/mailpit", "--",
        "/usr/bin/mailpit", "sendmail", "-S", relay, "-f", "mailer-daemon@mx.example", recipient,
        stdin=dsn().decode(),
    )  # fmt: skip
