"""A tree as the rows of a form, and back: a row belongs to the nearest group above it with a smaller level. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from elink_app.attributes.schemas import AttributeOutput, AttributeType, AttributeValues, as_typed
from elink_app.segments.schemas import Group
from elink_app.text import search_form

MAX_ROWS = 30
_WORDS: Mapping[str, dict[str, Any]] = {
    "consent:given": {"kind": "consent", "state": "given"},
    "consent:withdrawn": {"kind": "consent", "state": "withdrawn"},
    "consent:none": {"kind": "consent", "state": "none"},
    "suppressed:yes": {"kind": "suppression", "suppressed": True},
    "suppressed:no": {"kind": "suppression", "suppressed": False},
}
_DELIVERY = "delivery:"
_KINDS = {"name": "text", "company": "text", "created": "date", "updated": "date"}


@dataclass(frozen=True)
class FormRow:
    """One row: `what` names a group (`group:any`), a field, or a whole condition; `other` holds one as JSON."""

    level: int = 1
    what: str = ""
    op: str = ""
    value: str = ""


@dataclass(frozen=True)
class Names:
    """What the rows may name: tags by id, and own fields."""

    tags: Mapping[int, str]
    fields: Sequence[AttributeOutput]


def to_rows(tree: Group, names: Names, level: int = 1) -> list[FormRow]:
    """The rows of a tree, without its outermost group."""
    rows: list[FormRow] = []
    for node in tree.of:
        if isinstance(node, Group):
            rows += [FormRow(level, f"group:{node.kind}"), *to_rows(node, names, level + 1)]
        else:
            rows.append(_row(node.model_dump(mode="json"), names, level))
    return rows


def _row(node: dict[str, Any], names: Names, level: int) -> FormRow:
    for what, condition in _WORDS.items():
        if node == condition:
            return FormRow(level, what)
    if node["kind"] in ("text", "date"):
        return FormRow(level, node["field"], node["op"], node["value"])
    if node["kind"] == "delivery":
        return FormRow(level, _DELIVERY + node["outcome"], "", str(node["delivery_id"]))
    if node["kind"] == "tag" and node["tag_id"] in names.tags:
        return FormRow(level, "tag", "is", names.tags[node["tag_id"]])
    if node["kind"] == "attribute" and any(one.key == node["key"] for one in names.fields):
        return FormRow(level, f"own:{node['key']}", node["op"], as_typed(node["value"]))
    return FormRow(level, "other", "", orjson.dumps(node).decode())


def to_tree(kind: str, rows: Sequence[FormRow], names: Names) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
    """The tree as input for SegmentInput, and which row each node came from, by its path in the input."""
    root: dict[str, Any] = {"kind": kind, "of": []}
    places: dict[tuple[Any, ...], int] = {}
    # The groups that are open, with the level of their row and their path.
    open_groups: list[tuple[int, dict[str, Any], tuple[Any, ...]]] = [(0, root, ("tree",))]
    for number, row in enumerate(rows):
        if not row.what:
            continue
        while open_groups[-1][0] >= row.level:
            open_groups.pop()
        _, group, path = open_groups[-1]
        here = (*path, "of", len(group["of"]))
        places[here] = number
        if row.what.startswith("group:"):
            made: dict[str, Any] = {"kind": row.what.removeprefix("group:"), "of": []}
            open_groups.append((row.level, made, here))
            group["of"].append(made)
        else:
            group["of"].append(_condition(row, names))
    return root, places


def _condition(row: FormRow, names: Names) -> Any:
    if row.what in _WORDS:
        return dict(_WORDS[row.what])
    if row.what in _KINDS:
        return {"kind": _KINDS[row.what], "field": row.what, "op": row.op, "value": row.value}
    if row.what == "tag":
        wanted = search_form(row.value)
        # An id that no tag has: refused with a sentence at this row.
        found = next((one for one, name in names.tags.items() if search_form(name) == wanted), 2**63 - 1)
        return {"kind": "tag", "tag_id": found}
    if row.what.startswith(_DELIVERY):
        typed = row.value.strip()
        # A number that no delivery can have: refused with a sentence at this row.
        number = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 19 else 0
        return {"kind": "delivery", "delivery_id": number, "outcome": row.what.removeprefix(_DELIVERY)}
    if row.what.startswith("own:"):
        return _own(row, names)
    try:
        return orjson.loads(row.value)
    except orjson.JSONDecodeError:
        return None


def _own(row: FormRow, names: Names) -> dict[str, Any]:
    key = row.what.removeprefix("own:")
    condition: dict[str, Any] = {"kind": "attribute", "key": key, "op": row.op}
    if row.op in ("is_set", "not_set"):
        return condition
    field = next((one for one in names.fields if one.key == key), None)
    if field is None or field.type is AttributeType.TEXT:
        return {**condition, "value": row.value}
    value, _wrong = AttributeValues(names.fields).parse(key, row.value)
    return {**condition, "value": value}


def row_errors(field: tuple[Any, ...], places: Mapping[tuple[Any, ...], int]) -> int | None:
    """The row of an error by the longest part of its path that is a node; None for the whole tree."""
    for length in range(len(field), 1, -1):
        if field[:length] in places:
            return places[field[:length]]
    return None
