"""What comes out of counted links."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

_EXAMPLE: dict[str, JsonValue] = {
    "counting": True,
    "items": [{"number": 1, "url": "https://www.sakura.example/spring", "human": 120, "machine": 31}],
    "left": ["https://www.sakura.example/?c={{会社}}"],
    "ended_at": None,
}
_HIDDEN = "null where a number could tell about one person: few recipients, or some whom labels hide from the account"


class LinkOutput(BaseModel):
    """A counted link, with how many recipients opened it. No number is a fact: mail filters open links too."""

    number: Annotated[int, Field(description="In order of appearance, from 1")]
    url: str
    human: Annotated[int | None, Field(description=f"Recipients with a visit that looks like a person's; {_HIDDEN}")]
    machine: Annotated[int | None, Field(description=f"Recipients with other visits only; {_HIDDEN}")]


class LinksOutput(BaseModel):
    """The links of a delivery."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    counting: Annotated[bool, Field(description="The switch of the delivery")]
    items: list[LinkOutput]
    left: Annotated[list[str], Field(description="Not counted: with a placeholder in them, or without a clear end")]
    ended_at: Annotated[
        datetime | None, Field(description="Since then nothing is counted, and who it was is erased")
    ] = None
