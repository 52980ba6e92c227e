"""Looks into objects as they are, which may have been written past their schema. Pure."""

from collections.abc import Mapping
from typing import Any


def part(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of an object; empty when it is none."""
    found = obj.get(key)
    return found if isinstance(found, Mapping) else {}


def text(obj: Mapping[str, Any], key: str) -> str:
    """A text in it; empty when it is none."""
    found = obj.get(key)
    return found if isinstance(found, str) else ""


def concerned(restore: Mapping[str, Any]) -> frozenset[str]:
    """The tenants of a restore: whose data it takes, and into whose place."""
    spec = part(restore, "spec")
    return frozenset({text(spec, "tenant"), text(part(spec, "asNew"), "tenant")} - {""})
