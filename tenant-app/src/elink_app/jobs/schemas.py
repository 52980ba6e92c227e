"""Jobs as the API tells of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from elink_app.clock import JST
from elink_app.jobs.models import JobState
from elink_app.jobs.service import JobView

_EXAMPLE: dict[str, JsonValue] = {
    "id": 1,
    "kind": "import",
    "state": "running",
    "done": 3000,
    "total": 12000,
    "result": {"new": 2950, "changed": 40, "unchanged": 5, "skipped": 0, "bad": 5},
    "error": None,
    "actor": "master@example.co.jp",
    "created_at": "2026-04-01T09:00:00+09:00",
    "finished_at": None,
}


class JobOutput(BaseModel):
    """Work in the background."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    kind: Annotated[str, Field(description="import-check, import, import-undo, export, utility or utility-undo")]
    state: JobState
    done: Annotated[int, Field(description="Rows done so far")]
    total: Annotated[int, Field(description="Rows in all; 0 while it is not known")]
    result: Annotated[dict[str, Any], Field(description="Counts; they grow while the work goes on")]
    error: Annotated[str | None, Field(description="Why it failed, in English")]
    actor: Annotated[str, Field(description="Who asked for it")]
    created_at: Annotated[datetime, Field(description="With the offset of Japan Standard Time")]
    finished_at: Annotated[datetime | None, Field(description="With the offset of Japan Standard Time")]


class JobList(BaseModel):
    """The newest jobs, 100 at most."""

    items: list[JobOutput]


def to_output(job: JobView) -> JobOutput:
    """A job for the API. Names of stored files are no business of callers."""
    return JobOutput(
        id=job.id,
        kind=job.kind,
        state=JobState(job.state),
        done=job.done,
        total=job.total,
        result={name: value for name, value in job.result.items() if name != "file"},
        error=job.error.msgid % job.error.params if job.error else None,
        actor=job.actor,
        created_at=job.created_at.astimezone(JST),
        finished_at=job.finished_at.astimezone(JST) if job.finished_at else None,
    )
