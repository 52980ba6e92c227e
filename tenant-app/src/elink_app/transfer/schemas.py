"""Imports as the API tells of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from elink_app.clock import JST
from elink_app.transfer.plan import Plan
from elink_app.transfer.service import Preview, Upload

_PLAN: dict[str, JsonValue] = {
    "workbook": False,
    "encoding": "cp932",
    "separator": ",",
    "has_heading": True,
    "columns": ["name", "emails", ""],
    "existing": "update",
}


class ImportOutput(BaseModel):
    """An uploaded file and how it is to be taken."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "meibo.csv",
                    "size": 48213,
                    "created_at": "2026-04-01T09:00:00+09:00",
                    "plan": _PLAN,
                    "heading": ["氏名", "メール", "会員番号"],
                    "rows": [["山田 太郎", "taro@example.co.jp", "A-1"]],
                    "problem": None,
                }
            ]
        }
    )

    id: int
    name: Annotated[str, Field(description="What the file was called; for showing only")]
    size: Annotated[int, Field(description="Bytes")]
    created_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]
    plan: Plan
    heading: list[str]
    rows: Annotated[list[list[str]], Field(description="The first rows")]
    problem: Annotated[str | None, Field(description="Why the file cannot be read with this plan, in English")]


class JobStarted(BaseModel):
    """Work was queued."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job": 1}]})

    job: Annotated[int, Field(description="See /api/v1/jobs/{job_id}")]


def to_output(upload: Upload, preview: Preview) -> ImportOutput:
    """A file for the API."""
    problem = preview.problem
    return ImportOutput(
        id=upload.id,
        name=upload.name,
        size=upload.size,
        created_at=upload.created_at.astimezone(JST),
        plan=upload.plan,
        heading=preview.heading,
        rows=preview.rows,
        problem=problem.msgid % problem.params if problem else None,
    )
