"""What must pass, passes; and the API server fills in the defaults that the models have."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant

from tests.operator.admission.conftest import Webhook
from tests.support.apiserver import ROOT, ApiServer
from tests.support.kubectl import eventually

pytestmark = pytest.mark.apiserver

FILES = sorted(Path(__file__).with_name("good").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
MODELS = {"ElinkTenant": ElinkTenant, "ElinkServer": ElinkServer, "ElinkRestore": ElinkRestore}


def documents(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accepted_and_read_back(path: Path, refusing: ApiServer, webhook: Webhook) -> None:
    for document in documents(path):
        # A restore names a tenant that the webhook may not have seen yet.
        text = json.dumps(document)
        apply = partial(refusing.kubectl.run, "apply", "--server-side", "-f", "-", "-o", "json", stdin=text)
        out = eventually(apply, timeout=60, what=f"{document['kind']} of {path.name}")
        stored = json.loads(out)
        model = MODELS[document["kind"]].parse(stored)
        assert model.spec.dump() == stored["spec"]
        for key, value in document["spec"].items():
            if not isinstance(value, (dict, list)):
                assert stored["spec"][key] == value


def test_examples_are_accepted_in_their_order(refusing: ApiServer, webhook: Webhook) -> None:
    """The shared server first; a cancellation needs the tenant that it cancels."""
    for path in sorted(EXAMPLES, key=lambda path: (path.parent.name == "more", path.stem == "cancelled", path.name)):
        for document in documents(path):
            if document["kind"] in MODELS:
                # The webhook's cache follows within moments; what it needs may have been created just before.
                apply = partial(refusing.kubectl.run, "apply", "--server-side", "-f", "-", stdin=json.dumps(document))
                eventually(apply, timeout=60, what=str(path))


@pytest.mark.parametrize(
    ("model", "kind", "spec"),
    [
        (ElinkTenant, "ElinkTenant", {"plan": "Shared", "displayName": "A", "masterAccount": {"email": "a@b.example"}}),
        (ElinkServer, "ElinkServer", {"tenancy": "Shared"}),
        (
            ElinkTenant,
            "ElinkTenant",
            {"plan": "Dedicated", "displayName": "A", "masterAccount": {"email": "a@b.example"}, "size": {}},
        ),
    ],
)
def test_defaults_of_the_schema_are_those_of_the_models(
    model: Any, kind: str, spec: dict[str, Any], refusing: ApiServer, webhook: Webhook
) -> None:
    document = {"apiVersion": "elink-lc.com/v1", "kind": kind, "metadata": {"name": "defaults"}, "spec": spec}
    out = refusing.kubectl.run("create", "--dry-run=server", "-f", "-", "-o", "json", stdin=json.dumps(document))
    assert json.loads(out)["spec"] == model.parse(document).spec.dump()
