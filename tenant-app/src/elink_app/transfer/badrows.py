"""The refused rows of an import as a file in the same columns, with the reasons behind them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from elink_app.attributes.service import definitions
from elink_app.jobs.service import JobView
from elink_app.spreadsheet import with_guard
from elink_app.transfer.columns import ATTRIBUTE, REASON_HEADING, TITLES, Target, sentence
from elink_app.transfer.repository import TransferRepository
from elink_app.web.i18n import Translator
from elink_app.web.state import state_of, tenant_of, translator_of

_BATCH = 1000
_BOM = "\ufeff"


def bad_rows_csv(request: Request, job: JobView) -> Response:
    """A CSV file in UTF-8, read from the database piece by piece while it is sent."""
    state, tenant, translator = state_of(request), tenant_of(request), translator_of(request)

    async def lines() -> AsyncIterator[bytes]:
        async with state.databases.transaction(tenant) as db:
            heading = await _heading(db, job, translator)
        yield _line([*heading, translator.text(REASON_HEADING)], _BOM) if any(heading) else _BOM.encode()
        after = 0
        while True:
            async with state.databases.transaction(tenant) as db:
                rows = await TransferRepository(db).bad_rows(job.id, after, _BATCH)
            if not rows:
                return
            for number, cells, reasons in rows:
                after = number
                padded = [*cells, *[""] * (len(heading) - len(cells))]
                yield _line([*padded[: len(heading)], _explained(reasons, translator), *padded[len(heading) :]])

    return StreamingResponse(
        lines(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="refused-{job.id}.csv"'},
    )


async def _heading(db: AsyncSession, job: JobView, translator: Translator) -> list[str]:
    """The file's own, or for one without what its columns went to: else the reasons would come back as names."""
    heading = list(job.parameters.get("heading", []))
    if any(heading):
        return heading
    own = {ATTRIBUTE + one.key: one.label for one in await definitions(db)}
    columns = job.parameters.get("plan", {}).get("columns", [])
    return [own.get(one, "") if one not in set(Target) or not one else translator.text(TITLES[one]) for one in columns]


def _line(cells: Sequence[str], before: str = "") -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(map(with_guard, cells))
    return (before + text.getvalue()).encode()


def _explained(reasons: Sequence[Any], translator: Translator) -> str:
    parts = []
    for reason in reasons:
        title, message = sentence(reason)
        text = translator.text(message)
        parts.append(f"{translator.text(title)}: {text}" if title else text)
    return " ".join(parts)
