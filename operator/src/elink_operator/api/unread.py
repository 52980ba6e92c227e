"""Objects of our kinds that do not parse (another version, written past the schema): what they take counts as taken.

Only plain texts are looked at, each where it belongs; nothing else in such an object is believed. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import ValidationError

from elink_operator import labels
from elink_operator.api import server, tenant
from elink_operator.api.raw import part, text
from elink_operator.api.tenant import Plan

_SHOWN: Final = 5
_LONGEST: Final = 200


@dataclass(frozen=True)
class Unread:
    """What is known of such an object. `problems`: fields and what is wrong with each, without values."""

    kind: str
    name: str
    uid: str
    generation: int
    problems: str
    host: str = ""
    """Of a tenant: `spec.host`."""
    server: str = ""
    """Of a tenant: where it lives, or wants to."""
    lives: bool = False
    """Whether data of the tenant may be there."""

    @classmethod
    def of(cls, obj: Mapping[str, Any], error: ValueError) -> Self:
        """From the raw object and why it does not parse."""
        metadata, spec, status = (part(obj, key) for key in ("metadata", "spec", "status"))
        name, noted = text(metadata, "name"), part(metadata, "annotations")
        home = text(status, "server") or text(noted, labels.PLACED_ON)
        dedicated = spec.get("plan") == Plan.DEDICATED
        generation = metadata.get("generation")
        return cls(
            kind=text(obj, "kind"),
            name=name,
            uid=text(metadata, "uid"),
            generation=generation if isinstance(generation, int) else 0,
            problems=problems_of(error),
            host=text(spec, "host"),
            server=home or (name if dedicated else text(spec, "server")),
            lives=bool(home),
        )

    @property
    def is_tenant(self) -> bool:
        return self.kind == tenant.KIND

    @property
    def is_server(self) -> bool:
        return self.kind == server.KIND


def problems_of(error: ValueError) -> str:
    """Which fields cannot be read; values may be a customer's and are left out."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    found = [f"{'.'.join(map(str, e['loc']))} ({e['type']})"[:_LONGEST] for e in error.errors(include_input=False)]
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
