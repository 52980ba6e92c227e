"""What goes into and comes out of templates and images."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from elink_app.templates.layout import Layout
from elink_app.validation import Line, Lines

MAX_TEXT = 100_000
MAX_SOURCE = 200_000

_EXAMPLE: dict[str, JsonValue] = {
    "name": "月次のお知らせ",
    "subject": "{{名前|お客様}} 様へのお知らせ",
    "text_body": "{{会社}}\n{{名前|お客様}} 様\n\nいつもお世話になっております。",
    "layout": "mjml",
    "source": "<mjml><mj-body><mj-section><mj-column><mj-text>{{名前|お客様}} 様</mj-text></mj-column></mj-section>"
    "</mj-body></mjml>",
}


class TemplateInput(BaseModel):
    """A template as a person writes it. Placeholders: `{{field|default}}`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Annotated[str, Line(200, min_length=1)]
    subject: Annotated[str, Line(500)] = ""
    text_body: Annotated[
        str, Lines(MAX_TEXT), Field(description="Plain text part; made from the HTML part when it is empty")
    ] = ""
    layout: Annotated[Layout, Field(description="Language of `source`")] = Layout.NONE
    source: Annotated[str, Lines(MAX_SOURCE), Field(description="HTML or MJML; cleaned when it is used")] = ""


class TemplateUpdate(TemplateInput):
    """A replacement of all fields. With `version`, it is refused (409) when somebody saved in between."""

    version: Annotated[int | None, Field(ge=1, le=2**63 - 1, strict=True)] = None


class TemplateOutput(BaseModel):
    """A template in one of its versions."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": 1, "version": 1, **_EXAMPLE, "updated_at": "2026-04-01T09:00:00+09:00"}]}
    )

    id: int
    version: int
    name: str
    subject: str
    text_body: str
    layout: Layout
    source: str
    updated_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]


class TemplateVersionOutput(BaseModel):
    """One saved version, without its texts."""

    version: int
    name: str
    saved_by: str
    saved_at: datetime


class ImageOutput(BaseModel):
    """An uploaded picture. Whoever knows the address can see it: mails are read by strangers."""

    id: int
    title: str
    path: Annotated[str, Field(description="For `src`; the host is put before it when the mail is made")]
    media_type: str
    size: Annotated[int, Field(description="Bytes")]
    uploaded_at: datetime


class Preview(BaseModel):
    """A mail as one person would see it."""

    subject: str
    text: str
    html: Annotated[str, Field(description="Empty when the mail is plain text only")]
