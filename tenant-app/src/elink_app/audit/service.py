"""Writing the log and proving that nothing in it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.chain import ORIGIN, link, plain, refuse_secrets
from elink_app.audit.models import AuditEntry
from elink_app.audit.repository import AuditRepository

_BATCH = 1000


@dataclass(frozen=True)
class Actor:
    """Who acts: an account (`name` is its e-mail), or the service itself (no account). `address`: where from."""

    account_id: int | None
    name: str
    address: str


SYSTEM = Actor(None, "elink", "")


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check: `lines` were read; `broken_at` is the first wrong number, or None."""

    lines: int
    broken_at: int | None
    why: str = ""


async def record(
    db: AsyncSession,
    actor: Actor,
    action: str,
    *,
    kind: str = "",
    key: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    now: datetime,
) -> None:
    """Write one line in the transaction `db`: `action` like `address.delete` on the object `kind`/`key`.

    Call it late: other writers of this tenant wait until the transaction ends. One line for a bulk operation, with
    counts. Raises ValueError for a key that names a secret.
    """
    refuse_secrets(before)
    refuse_secrets(after)
    rows = AuditRepository(db)
    number, last = await rows.lock_head()
    entry = AuditEntry(
        number=number + 1,
        at=now,
        account_id=actor.account_id,
        actor=plain(actor.name)[:320],
        address=plain(actor.address)[:45],
        action=action,
        kind=kind,
        key=plain(key)[:100],
        before=None if before is None else plain(before),
        after=None if after is None else plain(after),
    )
    entry.hash = link(last, entry.number, entry.at, _fields(entry))
    await rows.append(entry)


async def verify(db: AsyncSession) -> Verdict:
    """Compute every hash again, in batches. Use a REPEATABLE READ transaction while others write."""
    rows = AuditRepository(db)
    head_number, head_hash = await rows.head()
    number, last = 0, ORIGIN
    while batch := await rows.after(number, _BATCH):
        for entry in batch:
            if entry.number > head_number:
                return Verdict(number, entry.number, "the line is newer than the head of the chain")
            if entry.number != number + 1:
                return Verdict(number, number + 1, "the line is missing")
            if link(last, entry.number, entry.at, _fields(entry)) != entry.hash:
                return Verdict(number, entry.number, "the line or its hash was changed")
            number, last = entry.number, entry.hash
        db.expunge_all()
    if (number, last) != (head_number, head_hash):
        return Verdict(number, number + 1, "lines at the end are missing")
    return Verdict(number, None)


def _fields(entry: AuditEntry) -> list[Any]:
    return [
        entry.account_id, entry.actor, entry.address, entry.action, entry.kind, entry.key, entry.before, entry.after,
    ]  # fmt: skip
