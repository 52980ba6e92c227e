"""What goes into and comes out of tags."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elink_app.addresses.schemas import TagName

RoleIds = Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]], Field(max_length=100)]


class TagInput(BaseModel):
    """A tag by its name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "取引先"}]})

    name: TagName


class Rights(BaseModel):
    """Ids of the roles that may see, export and send to the addresses of a label. The master always may."""

    see: RoleIds = []
    export: RoleIds = []
    send: RoleIds = []


class LabelInput(Rights):
    """Whether a tag is an information label, and for whom. Who may not see may not export or send either."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"is_label": True, "see": [1, 2], "export": [1], "send": [1]}]}
    )

    is_label: bool


class TagOutput(BaseModel):
    """A tag; `rights` is for the master only, and null for plain tags."""

    id: int
    name: str
    is_label: bool
    rights: Rights | None
