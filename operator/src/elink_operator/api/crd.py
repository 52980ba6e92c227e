"""From pydantic models to CustomResourceDefinitions with structural schemas. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from elink_operator import naming
from elink_operator.api import change, erasure, restore, server, tenant
from elink_operator.api.schema import VALIDATIONS, Part

Json = dict[str, Any]

_DROPPED: Final = frozenset({"title", "$defs"})
_INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True)
class Column:
    """A printer column; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""

    def as_schema(self) -> Json:
        entry: Json = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.priority:
            entry["priority"] = self.priority
        if self.description:
            entry["description"] = self.description
        return entry


@dataclass(frozen=True)
class ResourceKind:
    """What the CRD of a resource needs besides its model."""

    model: type[Part]
    spec: type[Part]
    status: type[Part] | None
    """None for a record: written once and hashed, so the API server must fill in nothing either."""
    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...]
    scale: Json | None = None


def _condition(type_: str, field: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

SERVER_KIND: Final = ResourceKind(
    server.ElinkServer,
    server.ServerSpec,
    server.ServerStatus,
    server.KIND,
    "elinkservers",
    "es",
    (
        Column("Ready", _condition("Ready")),
        Column("Tenancy", ".spec.tenancy"),
        Column("Tenants", ".status.tenants", "integer"),
        Column("Version", ".status.version"),
        Column("Web", ".status.app.readyReplicas", "integer", description="Web pods that serve."),
        Column("Reason", _condition("Ready", "reason")),
        _AGE,
        Column("Region", ".status.region", priority=1),
        Column("Cordoned", ".spec.cordoned", "boolean", priority=1),
        Column("Isolated", _condition("Isolated"), priority=1),
        Column("Message", _condition("Ready", "message"), priority=1),
    ),
    {
        "specReplicasPath": ".spec.app.replicas",
        "statusReplicasPath": ".status.app.replicas",
        "labelSelectorPath": ".status.app.selector",
    },
)
TENANT_KIND: Final = ResourceKind(
    tenant.ElinkTenant,
    tenant.TenantSpec,
    tenant.TenantStatus,
    tenant.KIND,
    "elinktenants",
    "et",
    (
        Column("Ready", _condition("Ready")),
        Column("Phase", ".status.phase"),
        Column("Plan", ".spec.plan"),
        Column("Server", ".status.server"),
        Column("URL", ".status.url"),
        Column("Version", ".status.version"),
        Column("Last backup", ".status.backup.newest", "date"),
        Column("Reason", _condition("Ready", "reason")),
        _AGE,
        Column("Name of customer", ".spec.displayName", priority=1),
        Column("Backups", ".status.backup.generations", "integer", priority=1),
        Column("Isolated", _condition("Isolated"), priority=1),
        Column("Erase after", ".status.eraseAfter", "string", priority=1),
        Column("Message", _condition("Ready", "message"), priority=1),
    ),
)
RESTORE_KIND: Final = ResourceKind(
    restore.ElinkRestore,
    restore.RestoreSpec,
    restore.RestoreStatus,
    restore.KIND,
    "elinkrestores",
    "er",
    (
        Column("Tenant", ".spec.tenant"),
        Column("Mode", ".spec.mode"),
        Column("Phase", ".status.phase"),
        Column("Step", ".status.step"),
        Column("Generation", ".status.generation"),
        Column("Seconds", ".status.durationSeconds", "integer"),
        _AGE,
        Column("New tenant", ".spec.asNew.tenant", priority=1),
        Column("Rows", ".status.rows", "integer", priority=1),
        Column("Files", ".status.files", "integer", priority=1),
        Column("Safety backup", ".status.safetyBackup", priority=1),
        Column("Message", _condition("Complete", "message"), priority=1),
    ),
)
ERASURE_KIND: Final = ResourceKind(
    erasure.ElinkErasure,
    erasure.ErasureSpec,
    None,
    erasure.KIND,
    "elinkerasures",
    "ee",
    (
        Column("Tenant", ".spec.tenant"),
        Column("Plan", ".spec.plan"),
        Column("Server", ".spec.server"),
        Column("Erased at", ".spec.erasedAt"),
        _AGE,
        Column("Cancelled at", ".spec.cancelledAt", priority=1),
        Column("Hash", ".spec.hash", priority=1),
    ),
)
CHANGE_KIND: Final = ResourceKind(
    change.ElinkChange,
    change.ChangeSpec,
    None,
    change.KIND,
    "elinkchanges",
    "ec",
    (
        Column("When", ".spec.at"),
        Column("Who", ".spec.who"),
        Column("What", ".spec.what"),
        Column("Of", ".spec.name"),
        Column("Summary", ".spec.summary"),
        Column("Kind", ".spec.kind", priority=1),
        Column("Generation", ".spec.generation", "integer", priority=1),
    ),
)
KINDS: Final = (SERVER_KIND, TENANT_KIND, RESTORE_KIND, ERASURE_KIND, CHANGE_KIND)


def build_crd(kind: ResourceKind) -> Json:
    """The CustomResourceDefinition of a resource."""
    subresources: Json = {} if kind.status is None else {"status": {}}
    if kind.scale is not None:
        subresources["scale"] = kind.scale
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{naming.GROUP}"},
        "spec": {
            "group": naming.GROUP,
            "scope": "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                # Records grow for ever and would come first in `kubectl get elink`, before any server and tenant.
                **({} if kind.status is None else {"categories": ["elink"]}),
            },
            "versions": [
                {
                    "name": naming.VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root_schema(kind)},
                    "subresources": subresources,
                    "additionalPrinterColumns": [column.as_schema() for column in kind.columns],
                }
            ],
        },
    }


def _root_schema(kind: ResourceKind) -> Json:
    root: Json = {
        "type": "object",
        "description": _description(kind.model.__doc__ or ""),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(kind.spec),
        },
    }
    if kind.status is None:
        root["properties"]["spec"] = _without_defaults(root["properties"]["spec"])
    else:
        root["properties"]["status"] = _without_defaults(structural_schema(kind.status))
    if kind.model.RULES:
        root[VALIDATIONS] = [rule.as_schema() for rule in kind.model.RULES]
    return root


def structural_schema(model: type[Part]) -> Json:
    """The model's JSON schema in the subset that Kubernetes takes: no references, no nulls, no titles."""
    document = model.model_json_schema(by_alias=True, mode="validation")
    rules = _rules_by_title(model)
    return _convert(document, document.get("$defs", {}), rules)


def _rules_by_title(model: type[Part]) -> dict[str, list[Json]]:
    """The CEL rules of every class in the tree of `model`, by the name that the JSON schema knows it by."""
    rules: dict[str, list[Json]] = {}
    pending: list[type[Part]] = [Part]
    while pending:
        part = pending.pop()
        pending.extend(part.__subclasses__())
        if part.RULES:
            rules[part.__name__] = [rule.as_schema() for rule in part.RULES]
    return rules


def _convert(node: Json, defs: Json, rules: dict[str, list[Json]]) -> Json:
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _convert(_merge(defs[node["$ref"].rsplit("/", 1)[1]], rest), defs, rules)
    alternatives = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if "x-kubernetes-int-or-string" not in node and len(alternatives) == 1:
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        return _convert(_merge(alternatives[0], rest), defs, rules)

    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if "description" in result:
        result["description"] = _description(result["description"])
    if "default" in result:
        result["default"] = _without_nulls(result["default"])
    if result.get("type") == "integer":
        result["format"] = "int32" if result.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    if "properties" in node:
        result["properties"] = {name: _convert(part, defs, rules) for name, part in node["properties"].items()}
        own = rules.get(node.get("title", ""), [])
        if own:
            result[VALIDATIONS] = [*own, *result.get(VALIDATIONS, [])]
    if "items" in node:
        result["items"] = _convert(node["items"], defs, rules)
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _convert(node["additionalProperties"], defs, rules)
    return result


def _merge(base: Json, over: Json) -> Json:
    """`over` wins, but the title stays the class's and rules add up."""
    merged = {**base, **{key: value for key, value in over.items() if key != "title"}}
    validations = [*base.get(VALIDATIONS, []), *over.get(VALIDATIONS, [])]
    if validations:
        merged[VALIDATIONS] = validations
    return merged


def _description(text: str) -> str:
    return " ".join(text.split())


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return value


def _without_defaults(node: Json) -> Json:
    """Status holds what was seen: the API server must not fill it in."""
    result = {key: value for key, value in node.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: _without_defaults(part) for name, part in result["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _without_defaults(result[key])
    return result
