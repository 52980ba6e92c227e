"""Every file in `bad/` is refused by the real API server, with exactly the sentence that the file says.

A file has a head (`refused`: all that kubectl prints; `by`: the layer; `step`: apply or delete), documents that set the
scene (a `status` in them is written too), and the document that must be refused.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operator.admission.conftest import Webhook
from tests.support.apiserver import ApiServer
from tests.support.kubectl import Kubectl, eventually

pytestmark = pytest.mark.apiserver

FILES = sorted(Path(__file__).with_name("bad").glob("*.yaml"))
APPLY = ("apply", "--server-side", "-f", "-")


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Head, scene and the document to refuse."""
    head, *scene, bad = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return head, scene, bad


def set_the_scene(kubectl: Kubectl, documents: list[dict[str, Any]]) -> None:
    for document in documents:
        status = document.pop("status", None)
        # The webhook's cache follows within moments: a tenant may come before the server that it names is known.
        eventually(partial(kubectl.run, *APPLY, stdin=json.dumps(document)), timeout=60)
        if status:
            name = f"{document['kind'].lower()}/{document['metadata']['name']}"
            kubectl.run("patch", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def attempt(kubectl: Kubectl, step: str, bad: dict[str, Any], *options: str) -> str:
    if step == "delete":
        return kubectl.refused("delete", bad["kind"].lower(), bad["metadata"]["name"], "--wait=false", *options)
    return kubectl.refused(*APPLY, *options, stdin=json.dumps(bad))


def test_there_are_enough() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_refused(path: Path, refusing: ApiServer, webhook: Webhook) -> None:
    head, scene, bad = read(path)
    kubectl = refusing.kubectl
    set_the_scene(kubectl, scene)
    if head["by"] == "webhook":
        # Its cache follows the scene within moments; a dry run leaves nothing behind.
        eventually(lambda: attempt(kubectl, head["step"], bad, "--dry-run=server"), timeout=60)
    assert attempt(kubectl, head["step"], bad).strip() == head["refused"].strip()


def test_each_layer_is_tried() -> None:
    assert {read(path)[0]["by"] for path in FILES} == {"schema", "policy", "webhook"}
