"""`python -m elink_operator.api.generate [ROOT]`: writes every file that is made from the models."""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from elink_operator.api.crd import KINDS, build_crd
from elink_operator.api.reference import build_reference

_NOTE: Final = "# Generated from operator/src/elink_operator/api; do not edit (make generate).\n"
_CHART_LABELS: Final = """\
  labels:
    app.kubernetes.io/name: {{ .Chart.Name }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
"""
_CHART_KEEP: Final = "  annotations:\n    helm.sh/resource-policy: keep\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same list in two places is written twice, which a reader can follow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _to_yaml(obj: dict[str, Any]) -> str:
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def build_files() -> dict[str, str]:
    """Path from the repository's root -> content, of every generated file."""
    crds = [build_crd(kind) for kind in KINDS]
    files = {"docs/crd-reference.md": build_reference(crds)}
    for crd in crds:
        name = f"{crd['metadata']['name']}.yaml"
        text = _to_yaml(crd)
        if "{{" in text:
            raise ValueError(f"{name} holds '{{{{', which Helm would take for a template")
        head, metadata, rest = text.partition(f"metadata:\n  name: {crd['metadata']['name']}\n")
        files[f"crds/{name}"] = _NOTE + text
        files[f"charts/elink-crds/templates/{name}"] = _NOTE + head + metadata + _CHART_LABELS + _CHART_KEEP + rest
    return files


def write_files(root: Path) -> list[str]:
    """Write what differs; returns the changed paths."""
    changed = []
    for path, content in build_files().items():
        target = root / path
        if target.exists() and target.read_text(encoding="utf-8") == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        changed.append(path)
    return changed


def main() -> None:
    """Command line: the only argument is the repository's root, by default the current folder."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path in write_files(root):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
