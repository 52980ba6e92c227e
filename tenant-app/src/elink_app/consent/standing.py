"""Puts right what two transactions at the same time can leave behind in `address_standing`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Triggers keep it. But when one transaction gives an address an e-mail while another one, not committed either, records
# something about that e-mail, neither sees what the other does.
_JUDGE_AGAIN = text("""
WITH due AS (
    SELECT DISTINCT address_id FROM address_email
    WHERE position = 0 AND address_id > :after AND email_key IN (
        SELECT email_key FROM consent WHERE recorded_at >= :since
        UNION SELECT email_key FROM suppression WHERE since >= :since OR lifted_at >= :since
    )
    ORDER BY address_id LIMIT :size
)
SELECT max(address_id), count(*), judge_standing(array_agg(address_id)) FROM due HAVING count(*) > 0
""")


async def judge_again(session: AsyncSession, since: datetime, after: int, size: int) -> tuple[int, int]:
    """Judge the next `size` addresses, by id, about whose e-mail anything was recorded after `since`.

    Returns the last id and how many there were; (0, 0) at the end. Repeating it changes nothing.
    """
    row = (await session.execute(_JUDGE_AGAIN, {"since": since, "after": after, "size": size})).one_or_none()
    return (row[0], row[1]) if row is not None else (0, 0)
