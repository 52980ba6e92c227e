"""What is to happen with an uploaded file; kept as JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elink_app.messages import N_
from elink_app.transfer.columns import COLUMN_PATTERN
from elink_app.transfer.detect import Encoding, Separator
from elink_app.transfer.tables import MAX_COLUMNS, Layout
from elink_app.validation import Line, Lines


class Existing(StrEnum):
    """What happens when an address has the row's first e-mail already."""

    UPDATE = "update"
    SKIP = "skip"
    ADD = "add"


ENCODINGS: Mapping[Encoding, str] = {
    Encoding.UTF8: "UTF-8",
    Encoding.CP932: "Shift_JIS (CP932)",
    Encoding.EUC_JP: "EUC-JP",
    Encoding.UTF16: "UTF-16",
}
SEPARATORS: Mapping[Separator, str] = {
    Separator.COMMA: N_("Comma"),
    Separator.TAB: N_("Tab"),
    Separator.SEMICOLON: N_("Semicolon"),
}
EXISTING: Mapping[Existing, str] = {
    Existing.UPDATE: N_("Change the address that has this e-mail: filled cells replace, empty ones leave it as it is"),
    Existing.SKIP: N_("Leave out the row"),
    Existing.ADD: N_("Add a second address"),
}


class Plan(BaseModel):
    """How the file is read, which column goes where, what happens to addresses that are there already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workbook: bool = False
    encoding: Encoding = Encoding.UTF8
    separator: Separator = Separator.COMMA
    has_heading: Annotated[bool, Field(description="The first row holds names of columns")] = True
    columns: Annotated[
        list[Annotated[str, Field(pattern=COLUMN_PATTERN)]],
        Field(max_length=MAX_COLUMNS, description="Where each column goes; an own field is attribute:<key>"),
    ] = []
    existing: Existing = Existing.UPDATE
    consent_source: Annotated[
        str, Line(300), Field(description="Where the consents of a consent column were given; needed for one")
    ] = ""
    consent_wording: Annotated[
        str, Lines(2000), Field(description="What these people agreed to, word for word; needed for one")
    ] = ""

    @property
    def layout(self) -> Layout:
        """How to read the file."""
        return Layout(self.workbook, self.encoding, self.separator)
