"""The generated files are those in the repository, and what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from elink_operator import naming
from elink_operator.api.crd import KINDS, build_crd
from elink_operator.api.generate import build_files, write_files

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", sorted(build_files()))
def test_checked_in_file_is_current(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == build_files()[path], "run: make generate"


def test_no_stale_definition_is_left() -> None:
    present = {str(path.relative_to(ROOT)) for folder in ("crds", "charts/elink-crds/templates")
               for path in (ROOT / folder).iterdir()}  # fmt: skip
    assert present == {path for path in build_files() if path != "docs/crd-reference.md"}


def test_write_files_reports_what_changed(tmp_path: Path) -> None:
    assert set(write_files(tmp_path)) == set(build_files())
    assert write_files(tmp_path) == []
    (tmp_path / "docs/crd-reference.md").write_text("edited")
    assert write_files(tmp_path) == ["docs/crd-reference.md"]


def test_names_are_the_contract() -> None:
    by_kind = {crd["spec"]["names"]["kind"]: crd["spec"] for crd in map(build_crd, KINDS)}
    assert {kind: (spec["names"]["plural"], spec["names"]["shortNames"]) for kind, spec in by_kind.items()} == {
        "ElinkServer": ("elinkservers", ["es"]),
        "ElinkTenant": ("elinktenants", ["et"]),
        "ElinkRestore": ("elinkrestores", ["er"]),
        "ElinkErasure": ("elinkerasures", ["ee"]),
        "ElinkChange": ("elinkchanges", ["ec"]),
    }
    for spec in by_kind.values():
        assert (spec["group"], spec["scope"]) == (naming.GROUP, "Cluster")
        is_record = spec["names"]["kind"] in {"ElinkErasure", "ElinkChange"}
        # `kubectl get elink` shows what there is, and not the history of it first.
        assert spec["names"].get("categories", []) == ([] if is_record else ["elink"])
        assert ("status" in spec["versions"][0]["subresources"]) is not is_record


def test_the_chart_keeps_definitions_when_it_is_removed() -> None:
    for path, text in build_files().items():
        if path.startswith("charts/"):
            assert "  annotations:\n    helm.sh/resource-policy: keep\n" in text


def test_every_text_and_list_is_bounded() -> None:
    """Bounds keep the CEL cost estimate, etcd and the operator's memory small."""

    def unbounded(node: dict[str, object], path: str) -> list[str]:
        found = []
        if node.get("type") == "string" and not {"maxLength", "enum", "format"} & node.keys():
            found.append(path)
        if node.get("type") == "array" and "maxItems" not in node:
            found.append(path)
        if "additionalProperties" in node and "maxProperties" not in node:
            found.append(path)
        for name, part in (node.get("properties") or {}).items():  # type: ignore[attr-defined]
            found += unbounded(part, f"{path}.{name}")
        if isinstance(node.get("items"), dict):
            found += unbounded(node["items"], f"{path}[]")  # type: ignore[arg-type]
        return found

    for crd in map(build_crd, KINDS):
        properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        for part in properties.keys() & {"spec", "status"}:
            assert unbounded(properties[part], part) == []


def test_yaml_is_what_was_built() -> None:
    for crd in map(build_crd, KINDS):
        assert yaml.safe_load(build_files()[f"crds/{crd['metadata']['name']}.yaml"]) == crd
