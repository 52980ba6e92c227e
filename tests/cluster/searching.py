"""Looks for words everywhere: PostgreSQL's own files, volumes, the store of backups, objects of every kind."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from typing import Any

from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SHARED = "elink-srv-shared-1"
STORE = ("elink-backup-store", "store", "/backups")
_ANY = """
import os, sys
wanted = [word.encode() for word in sys.argv[1].split(chr(10))]
for folder, folders, names in os.walk(sys.argv[2]):
    for name in folders:
        path = os.path.join(folder, name)
        if any(word in os.fsencode(path) for word in wanted): print(path)
    for name in names:
        path = os.path.join(folder, name)
        try:
            with open(path, 'rb') as file: content = file.read()
        except FileNotFoundError: continue  # others are at work
        if any(word in os.fsencode(path) or word in content for word in wanted): print(path)
"""
_POSTGRES = 'cd /var/lib/postgresql && { find . | grep -aF -e "$1"; grep -rlaF -e "$1" .; } | sort -u; echo searched'


def in_volume(live: Live, namespace: str, claim: str, mount: str, *words: str) -> list[str]:
    """Folders and files of a volume whose path or content holds one of the words."""
    return search_volume(live, namespace, claim, mount, "\n".join(words), mount, script=_ANY)


def in_postgres(live: Live, server: str, *words: str) -> list[str]:
    """Files of a server's PostgreSQL, its write-ahead log included, whose path or content holds one of the words."""

    def search() -> list[str]:
        said = live.kubectl.exec(
            f"elink-srv-{server}", "postgres-0", "sh", "-c", _POSTGRES, "sh", "\n".join(words), timeout=300
        )
        lines = said.splitlines()
        return lines if lines[-1:] == ["searched"] else []

    # On a busy machine kubectl exec sometimes ends well and without its output, which must not pass for "nothing".
    return eventually(search, timeout=300, what="PostgreSQL's files were searched")[:-1]


def in_objects(kubectl: Kubectl, *words: str) -> list[str]:
    """KIND NAMESPACE/NAME of every object, of whatever kind, that holds one of the words; Secrets are decoded."""
    kinds = kubectl.run("api-resources", "--verbs=list", "-o", "name").split()
    found = []
    for kind in kinds:
        for one in json.loads(kubectl.run("get", kind, "-A", "-o", "json", timeout=300))["items"]:
            text = json.dumps(_decoded(one), ensure_ascii=False)
            if any(word in text for word in words):
                metadata = one["metadata"]
                found.append(f"{kind} {metadata.get('namespace', '')}/{metadata['name']}")
    return found


def kinds_of(found: Sequence[str]) -> set[str]:
    """The kinds in what `in_objects` found."""
    return {line.split()[0].partition(".")[0] for line in found}


def _decoded(one: dict[str, Any]) -> dict[str, Any]:
    if one.get("kind") != "Secret":
        return one
    data = {key: base64.b64decode(value).decode(errors="replace") for key, value in (one.get("data") or {}).items()}
    return {**one, "data": data}


SEARCH = """
import hashlib, os, sys
for top in ('/files', '/backups'):  # one of them is there
  for folder, _, names in os.walk(top):
    for name in names:
      path = os.path.join(folder, name)
      try:
        with open(path, 'rb') as file: content = file.read()
      except FileNotFoundError: continue  # others are at work
      wanted, where = sys.argv[1:]
      if {wanted, 'elink-' + wanted} & set(path.split('/')) if where == 'path' else wanted.encode() in content:
        print(hashlib.sha256(content).hexdigest(), path)
"""


def files_of(live: Live, tenant: str) -> list[str]:
    """Files on the server's volume and in the store, with the name as a part of their path: SHA-256 and path."""
    return search_volumes(live, tenant, "path")


def files_with(live: Live, text: str) -> list[str]:
    """The same of files whose content holds `text`."""
    return search_volumes(live, text, "content")


def search_volumes(live: Live, wanted: str, where: str) -> list[str]:
    """What pods of our own see on the two volumes; `where`: path or content."""
    return search_volume(live, SHARED, "files", "/files", wanted, where) + search_volume(
        live, "elink-backup-store", "store", "/backups", wanted, where
    )


def search_volume(
    live: Live, namespace: str, claim: str, mount: str, wanted: str, where: str, script: str = SEARCH
) -> list[str]:
    """What a pod of our own sees on one volume: the lines that `script` prints."""
    name = f"searcher-{secrets.token_hex(3)}"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsUser": 10001,
                "runAsNonRoot": True,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": live.image("TENANT_APP"),
                    "command": ["python3", "-c", script, wanted, where],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "volume", "mountPath": mount}],
                }
            ],
            "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
    kubectl = live.kubectl
    kubectl.apply(pod)
    try:
        done = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl.run("wait", "-n", namespace, f"pod/{name}", done, "--timeout=120s")
        return sorted(kubectl.run("logs", "-n", namespace, name).splitlines())
    finally:
        kubectl.run("delete", "pod", "-n", namespace, name, "--timeout=60s")
