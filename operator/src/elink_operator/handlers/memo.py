"""What kopf hands to every handler."""

from dataclasses import dataclass
from typing import Self

from elink_operator.api.world import World
from elink_operator.cluster.connection import Connection
from elink_operator.settings import Settings
from elink_operator.triggers import Triggers


@dataclass(frozen=True, slots=True)
class OperatorMemo:
    """The same for all objects: kopf copies a memo for each object, this one hands out itself."""

    settings: Settings
    connection: Connection
    triggers: Triggers
    world: World

    def __copy__(self) -> Self:
        return self
