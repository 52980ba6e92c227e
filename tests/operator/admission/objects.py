"""Objects as a client sends them, and how to send them without kubectl."""

from __future__ import annotations

import json
from typing import Any

from tests.support.apiserver import ApiServer

API = "/apis/elink-lc.com/v1"
PLURALS = {
    "ElinkTenant": "elinktenants",
    "ElinkServer": "elinkservers",
    "ElinkErasure": "elinkerasures",
    "ElinkRestore": "elinkrestores",
    "ElinkChange": "elinkchanges",
}


def tenant_body(name: str, *, meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "elink-lc.com/v1",
        "kind": "ElinkTenant",
        "metadata": {"name": name, **(meta or {})},
        "spec": {"plan": "Shared", "displayName": "A", "masterAccount": {"email": "a@b.example"}, **spec},
    }


def server_body(name: str, *, meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "elink-lc.com/v1",
        "kind": "ElinkServer",
        "metadata": {"name": name, **(meta or {})},
        "spec": {"tenancy": "Shared", **spec},
    }


def create(server: ApiServer, body: dict[str, Any], *, dry_run: bool = False) -> tuple[int, str]:
    """POST with strict field validation; returns the status and the sentence, or the body when it was accepted."""
    query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    status, answer = server.request("POST", f"{API}/{PLURALS[body['kind']]}{query}", body)
    return status, answer.decode() if status < 300 else json.loads(answer)["message"]


def set_status(server: ApiServer, kind: str, name: str, status: dict[str, Any]) -> str:
    """Merge into the status; returns what kubectl printed, or raises KubectlError."""
    patch = json.dumps({"status": status})
    return server.kubectl.run("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
