"""A delivery with counted links, and people and machines that open them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from elink_app.clock import utc_now
from elink_app.mail.tokens import click_ids
from elink_app.worker.housekeeping import Housekeeper

from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.deliveries.test_composed import composed

A, B = "https://a.example/?x=1&y=2", "https://例え.jp/spring"
TEXT = f"{{{{名前}}}} 様\n{A}\n{B} \n https://a.example/?c={{{{会社}}}}"
PAGE = f'<p><a href="{A.replace("&", "&amp;")}">見る</a> <a href="{B}">春</a> <a href="mailto:x@a.example">m</a></p>'


@dataclass
class Sent:
    """A delivery that is being sent; `paths` holds the paths of each recipient's links, in their order."""

    office: Office
    id: int
    paths: dict[str, list[str]]

    async def open(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """As somebody without a log-in does."""
        client = self.office.world.browser(self.office.tenant.host).client
        return await client.request(method, path, headers=headers)

    async def links(self) -> Any:
        return await self.office.call("GET", f"/deliveries/{self.id}/links")

    async def rows(self) -> list[tuple[int, bool]]:
        """(number, is a person's) of every row."""
        found = await self.office.sql("SELECT number, human_at IS NOT NULL AS h FROM delivery_click ORDER BY 1, 2")
        return [(row["number"], row["h"]) for row in found]

    async def handed_over(self, ago: timedelta) -> None:
        """Every mail was handed over so long ago, and no link was opened since."""
        await self.office.sql("UPDATE delivery_recipient SET updated_at = now() - $1::interval", ago)

    async def later(self, passed: timedelta) -> None:
        """As if that time had passed since everything that was opened."""
        await self.office.sql(
            "UPDATE delivery_click SET seen_at = seen_at - $1::interval, human_at = human_at - $1::interval", passed
        )

    async def clear_away(self) -> dict[str, int]:
        """A round of the worker's housekeeping."""
        parts = self.office.world.parts
        known = parts.directory.get(self.office.tenant.name)
        assert known is not None
        keeper = Housekeeper(parts.databases, parts.metrics, utc_now, parts.session_policy, timedelta(days=7))
        return await keeper.clean(known)


async def sent(office: Office, people: int = 2, **changes: Any) -> Sent:
    """A delivery under way, to `people` (more than the two of the segment are added to what was frozen)."""
    body = {"text_body": TEXT, "count_clicks": True, **changes}
    made = await office.ready(**body)
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql(
        "INSERT INTO delivery_recipient (delivery_id, email, email_key, slots) SELECT $1, n || '@m.example', "
        "n || '@m.example', '[\"\", \"\"]' FROM generate_series(3, $2::int) n", made["id"], people,
    )  # fmt: skip
    await office.sql("UPDATE delivery SET total = $2, state = 'sending' WHERE id = $1", made["id"], people)
    paths = {}
    for email, mail in (await composed(office, made["id"])).items():
        text = mail.get_body(("plain",))
        assert text is not None
        base = re.escape(f"https://{office.tenant.host}")
        paths[email] = re.findall(rf"{base}(/l/[0-9a-f]{{54}})\s", text.get_content())
    one = Sent(office, made["id"], paths)
    await one.handed_over(timedelta(hours=1))
    return one


def changed(path: str, **parts: int) -> str:
    """The path with other ids in front of the same proof."""
    token = path.removeprefix("/l/")
    ids = click_ids(token)
    assert ids is not None
    packed = parts.get("delivery", ids.delivery_id).to_bytes(5, "big")
    packed += parts.get("recipient", ids.recipient_id).to_bytes(6, "big")
    return f"/l/{(packed + parts.get('number', ids.number).to_bytes(2, 'big')).hex()}{token[26:]}"
