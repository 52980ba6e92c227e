"""Asking for an export, and its file. Pages and API call these and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.addresses.visibility import Action
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import AppError, NotFound
from elink_app.jobs.service import Jobs
from elink_app.messages import N_, Message
from elink_app.registry.tenant import Tenant
from elink_app.segments.service import Segments
from elink_app.transfer.exporter import Format, Unfit
from elink_app.transfer.rights import hidden_labels, kept_rights
from elink_app.transfer.store import FileStore, Shelf, is_plain_file
from elink_app.validation import Line

_MEDIA = {
    Format.CSV: "text/csv",
    Format.TSV: "text/tab-separated-values",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class ExportOutdated(AppError):
    """Since the file was written, labels came between the account and addresses that may be in it."""

    status = 409
    code = "export-outdated"
    title = N_("The file may hold what you may not export now")

    def __init__(self) -> None:
        super().__init__(
            Message(
                N_(
                    "Information labels or your roles have changed since this file was written. Export again: the new "
                    "file holds what you may export now."
                )
            )
        )


class ExportInput(BaseModel):
    """Which addresses are written, and how. Empty: all that the account may export."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"segment_id": 1, "format": "csv", "encoding": "cp932", "unfit": "replace"}]},
    )

    segment_id: Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)] | None = None
    q: Annotated[str, Line(200)] = ""
    tag: Annotated[str, Line(50)] = ""
    format: Format = Format.CSV
    encoding: Annotated[Literal["utf-8", "cp932"], Field(description="Means nothing for xlsx")] = "utf-8"
    unfit: Annotated[Unfit, Field(description="What happens to characters that CP932 does not have")] = Unfit.REFUSE


@dataclass(frozen=True)
class ExportFile:
    """A finished file."""

    path: Path
    media_type: str
    name: str


class Exports:
    """The exports of one tenant within one transaction. Everybody sees their own, the master all."""

    def __init__(
        self, session: AsyncSession, tenant: Tenant, store: FileStore, principal: Principal, actor: Actor, clock: Clock
    ) -> None:
        self._session = session
        self._tenant = tenant
        self._store = store
        self._principal = principal
        self._actor = actor
        self._clock = clock
        self._jobs = Jobs(session, clock)

    async def start(self, asked: ExportInput) -> int:
        """Queue an export; the id of its job. Raises NotFound for a segment that the account does not see."""
        parameters: dict[str, Any] = asked.model_dump(mode="json")
        if asked.format is Format.XLSX:
            parameters["encoding"] = "utf-8"
        tree: dict[str, Any] | None = None
        if asked.segment_id is not None:
            segments = Segments(self._session, self._principal, self._actor, self._clock)
            tree = (await segments.get(asked.segment_id)).tree.model_dump(mode="json")
        hidden = sorted(await hidden_labels(self._session, self._principal, Action.EXPORT))
        rights = {**kept_rights(self._principal), "hidden": hidden}
        number = await self._jobs.start("export", {**parameters, "tree": tree, "rights": rights}, self._actor)
        await self._note("addresses.export_started", number, parameters)
        return number

    async def file(self, job_id: int) -> ExportFile:
        """The file of a finished export; raises NotFound or ExportOutdated. Every download is written into the log."""
        found = await self._jobs.get(self._principal, job_id)
        if found.kind != "export" or found.state != "done" or "file" not in found.result:
            raise NotFound
        path = self._store.path(self._tenant, Shelf.EXPORTS, found.result["file"])
        if not await asyncio.to_thread(is_plain_file, path):
            raise NotFound
        hidden = await hidden_labels(self._session, self._principal, Action.EXPORT)
        if not hidden.keys() <= set(found.parameters.get("rights", {}).get("hidden", [])):
            raise ExportOutdated
        await self._note("addresses.export_downloaded", job_id, None)
        kind = Format(found.parameters["format"])
        charset = "shift_jis" if found.parameters["encoding"] == "cp932" else "utf-8"
        media = _MEDIA[kind] if kind is Format.XLSX else f"{_MEDIA[kind]}; charset={charset}"
        return ExportFile(path, media, f"addresses-{job_id}.{kind.value}")

    async def _note(self, action: str, job_id: int, after: dict[str, Any] | None) -> None:
        await record(self._session, self._actor, action, kind="job", key=str(job_id), after=after, now=self._clock())
