"""From CRDs to the reference page. Pure."""

from collections.abc import Iterator
from typing import Any

from elink_operator.api.schema import VALIDATIONS

Json = dict[str, Any]

_HEAD = """# Resources: `elink-lc.com/v1`

Generated from the models in `operator/src/elink_operator/api`; do not edit (`make generate`).

All kinds are cluster-scoped. `kubectl get elink` lists servers, tenants and restores; records have their own lists:
`kubectl get ee` (erasures), `kubectl get ec` (changes).
The API server refuses what the types, bounds and rules below do not allow, with the sentence given here.
An unknown field is an error with kubectl 1.27 and later (`--validate=strict`, its default: the API server checks);
a client that asks for `fieldValidation=Warn` or `Ignore` has the field dropped and, with Warn, is told so.
What only other objects can decide is refused by the admission webhook: see `adr/0003-admission-layers.md`.
"""


def build_reference(crds: list[Json]) -> str:
    """The Markdown page for a list of CRDs."""
    return "\n".join([_HEAD, *(line for crd in crds for line in _kind(crd))]) + "\n"


def _kind(crd: Json) -> Iterator[str]:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']} (`{names['plural']}`, `{names['shortNames'][0]}`)"
    yield ""
    yield root["description"]
    yield ""
    if "scale" in version["subresources"]:
        yield f"`kubectl scale {names['shortNames'][0]}/NAME --replicas=N` sets `spec.app.replicas`."
        yield ""
    columns = ", ".join(
        f"{column['name']}{' (wide)' if column.get('priority') else ''}"
        for column in version["additionalPrinterColumns"]
    )
    yield f"Columns of `kubectl get`: {columns}."
    for part in ("spec", "status"):
        if part not in root["properties"]:
            continue
        yield ""
        yield f"### {names['kind']} {part}"
        yield ""
        yield "| Field | Type | Default | Meaning |"
        yield "|---|---|---|---|"
        yield from _rows(root["properties"][part], part)
    rules = list(_rules(root, ""))
    if rules:
        yield ""
        yield f"### {names['kind']} rules"
        yield ""
        yield "| Where | What is refused says |"
        yield "|---|---|"
        yield from rules
    yield ""


def _rows(node: Json, path: str) -> Iterator[str]:
    required = set(node.get("required", ()))
    for name, part in node.get("properties", {}).items():
        here = f"{path}.{name}"
        default = part.get("default", "")
        shown = "required" if name in required else f"`{default}`" if _is_plain(default) else ""
        yield f"| `{here}` | {_type(part)} | {shown} | {part.get('description', '')} |"
        yield from _rows(part, here)
        yield from _rows(part.get("items", {}), f"{here}[]")


def _is_plain(default: object) -> bool:
    return default != "" and not isinstance(default, (dict, list))


def _type(part: Json) -> str:
    if part.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in part:
        return " \\| ".join(part["enum"])
    if part.get("type") == "array":
        return f"list of {_type(part['items'])}; at most {part['maxItems']} entries"
    if part.get("type") == "integer" and "minimum" in part:
        return f"integer, {part['minimum']} to {part['maximum']}" if "maximum" in part else "integer"
    if part.get("type") == "string" and "maxLength" in part:
        return f"text, at most {part['maxLength']}"
    if part.get("format") == "date-time":
        return "time"
    return str(part.get("type", ""))


def _rules(node: Json, path: str) -> Iterator[str]:
    for rule in node.get(VALIDATIONS, ()):
        yield f"| `{path or 'metadata'}` | {rule['message'].replace('|', chr(92) + '|')} |"
    for name, part in node.get("properties", {}).items():
        yield from _rules(part, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from _rules(node["items"], f"{path}[]")
