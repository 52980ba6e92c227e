"""What the status of a tenant or server says about its backups."""

from typing import Annotated

from pydantic import Field

from elink_operator.api.schema import Part, Time


class BackupStatus(Part):
    """What is really in the backup store."""

    generations: Annotated[int, Field(ge=0)] = 0
    """Complete generations present that can come back."""
    damaged: Annotated[
        tuple[Annotated[str, Field(max_length=16)], ...],
        Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = ()
    """Names of generations of which the store has lost something, the newest twenty: they cannot come back."""
    newest: Time | None = None
    """When the newest was made."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Size of all generations."""
    verified_at: Time | None = None
    """When the newest was read back out of the store to its last byte."""

    @property
    def any(self) -> bool:
        """Whether the store holds something that was sealed with the key of now."""
        return bool(self.generations or self.damaged)
