"""A tenant with people, a sender and a delivery, for tests of deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from elink_operator.database.model import TenantDb

from tests.tenant_app.support import Browser, World

SENDER = "news@sakura.example"
RULES = {
    "organisation": "株式会社さくら商店", "postal_address": "東京都千代田区1-1", "contact": "info@sakura.example",
    "approval_required": False, "hold_minutes": 5, "type_count_above": 100, "quiet_from": None, "quiet_until": None,
    "resend_unknown": False,
}  # fmt: skip


@dataclass
class Office:
    """One tenant and its master's browser."""

    world: World
    tenant: TenantDb
    me: Browser
    segment: int

    async def call(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """A call of the API that must answer `expect`."""
        answer = await self.me.api(method, f"/api/v1{path}", **options)
        assert answer.status_code == expect, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def rules(self, **changes: Any) -> None:
        await self.call("PUT", "/settings/sender", json={**RULES, **changes})

    async def draft(self, expect: int = 201, **changes: Any) -> Any:
        body = {
            "name": "お知らせ", "category": "notice", "from_name": "さくら商店", "from_address": SENDER,
            "segment_id": self.segment, "subject": "{{名前|お客様}} 様へ",
            "text_body": "{{会社|御社}} {{名前}} 様\n本文",
            **changes,
        }  # fmt: skip
        return await self.call("POST", "/deliveries", expect, json=body)

    async def new_segment(self, name: str, tree: dict[str, Any]) -> int:
        """A saved segment; its pages are another domain's."""
        statement = "INSERT INTO segment (name, key, tree) VALUES ($1, $1, $2::jsonb) RETURNING id"
        rows = await self.sql(statement, name, json.dumps(tree))
        return int(rows[0]["id"])

    async def ready(self, **changes: Any) -> Any:
        """A delivery that may be released."""
        made = await self.draft(**changes)
        return await self.call("POST", f"/deliveries/{made['id']}/request")

    async def sql(self, statement: str, *values: object) -> list[Any]:
        async with self.world.server.inside(self.tenant.database) as connection:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows

    async def foreign_author(self, delivery_id: int) -> None:
        """As if somebody else had written everything so far."""
        await self.sql("UPDATE delivery_event SET account_id = account_id + 1000 WHERE delivery_id = $1", delivery_id)
