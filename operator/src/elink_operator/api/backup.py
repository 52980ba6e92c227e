"""What the status of a tenant or server says about its backups."""

from typing import Annotated

from pydantic import Field

from elink_operator.api.schema import Part, Time


class BackupStatus(Part):
    """What is really in the backup store."""

    generations: Annotated[int, Field(ge=0)] = 0
    """Complete generations present."""
    newest: Time | None = None
    """When the newest was made."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """Size of all generations."""
    verified_at: Time | None = None
    """When the newest was read back out of the store to its last byte."""
