"""All SQL of receipts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.notices.models import NoticeReceipt


class ReceiptRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def mine(self, account_id: int, notice_ids: Sequence[str]) -> dict[str, NoticeReceipt]:
        """The receipts of one account by notice."""
        statement = select(NoticeReceipt).where(
            NoticeReceipt.account_id == account_id, NoticeReceipt.notice_id.in_(notice_ids)
        )
        return {row.notice_id: row for row in await self._session.scalars(statement)}

    async def of_notice(self, notice_id: str, limit: int) -> Sequence[NoticeReceipt]:
        """The receipts of one notice, first come first."""
        statement = select(NoticeReceipt).where(NoticeReceipt.notice_id == notice_id)
        ordered = statement.order_by(NoticeReceipt.at, NoticeReceipt.account_id).limit(limit)
        return (await self._session.scalars(ordered)).all()

    async def add(self, notice_id: str, account_id: int, actor: str, kind: str, at: datetime) -> bool:
        """Keep a receipt; False when there was one: the first stays."""
        statement = upsert(NoticeReceipt).values(
            notice_id=notice_id, account_id=account_id, actor=actor, kind=kind, at=at
        )
        kept = statement.on_conflict_do_nothing().returning(NoticeReceipt.account_id)
        return await self._session.scalar(kept) is not None
