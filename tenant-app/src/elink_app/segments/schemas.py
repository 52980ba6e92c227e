"""A segment: a tree of groups (all, any, none of) and typed conditions. Depth and size are bounded."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from elink_app.addresses.schemas import AddressOutput
from elink_app.segments.kinds import CONDITION_MODELS
from elink_app.text import search_form
from elink_app.validation import Line, refuse

MAX_DEPTH = 3
MAX_CONDITIONS = 50
# What the table holds.
_KEY_LENGTH = 200

_TREE: dict[str, JsonValue] = {
    "kind": "all",
    "of": [
        {"kind": "text", "field": "company", "op": "contains", "value": "商店"},
        {"kind": "none", "of": [{"kind": "suppression", "suppressed": True}]},
    ],
}


class Group(BaseModel):
    """Joins conditions and groups. An empty `all` or `none` is always true, an empty `any` never."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["all", "any", "none"]
    of: Annotated[list[Node], Field(max_length=MAX_CONDITIONS)]


def _union() -> Any:
    union: Any = Group
    for model in CONDITION_MODELS:
        union = union | model
    return Annotated[union, Field(discriminator="kind")]


if TYPE_CHECKING:
    Node = BaseModel
else:
    # Made from the one list of conditions; a type checker sees what all of them are.
    Node = _union()
Group.model_rebuild(_types_namespace={"Node": Node})


def measure(node: BaseModel) -> tuple[int, int]:
    """Levels of groups and number of nodes below and with this one."""
    if not isinstance(node, Group):
        return 0, 1
    parts = [measure(part) for part in node.of]
    return 1 + max((depth for depth, _ in parts), default=0), 1 + sum(size for _, size in parts)


def _bounded(tree: Group) -> Group:
    depth, size = measure(tree)
    if depth > MAX_DEPTH or size > MAX_CONDITIONS + 1:
        raise refuse("tree_too_large", max_conditions=MAX_CONDITIONS, max_depth=MAX_DEPTH)
    return tree


Tree = Annotated[Group, AfterValidator(_bounded)]
TREE: TypeAdapter[Group] = TypeAdapter(Tree)


def _comparable(value: str) -> str:
    # One character may stand for several in the form in which names are compared.
    if len(search_form(value)) > _KEY_LENGTH:
        raise refuse("string_too_long", max_length=100)
    return value


class SegmentInput(BaseModel):
    """A name and the tree of conditions."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "配信できる商店", "tree": _TREE}]}
    )

    name: Annotated[str, Line(100, min_length=1), AfterValidator(_comparable)]
    tree: Tree


class SegmentUpdate(SegmentInput):
    """A replacement. With `version`, it is refused (409) when somebody saved in between."""

    version: Annotated[int | None, Field(ge=1, le=2**63 - 1, strict=True)] = None


class TreeInput(BaseModel):
    """A tree that is to be tried without saving it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"tree": _TREE}]})

    tree: Tree


class SegmentOutput(BaseModel):
    """A segment as it is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1, "version": 1, "name": "配信できる商店", "tree": _TREE,
                    "created_at": "2026-04-01T09:00:00+09:00", "updated_at": "2026-04-01T09:00:00+09:00",
                }
            ]
        }
    )  # fmt: skip

    id: int
    version: int
    name: str
    tree: Group
    created_at: datetime
    updated_at: datetime


class SegmentPreview(BaseModel):
    """Exactly how many addresses there are that the account may see, and the first of them."""

    count: int
    items: list[AddressOutput]
