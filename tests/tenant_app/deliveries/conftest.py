"""Fixtures of deliveries."""

from __future__ import annotations

import pytest_asyncio

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.support import World

PEOPLE = [
    {"name": "山田 太郎", "company": "山田商店", "emails": ["taro@a.example", "second@a.example"], "tags": ["客"]},
    {"name": "佐藤 花子", "company": "", "emails": ["hanako@b.example"], "tags": ["客"]},
    {"name": "佐藤 はな", "company": "", "emails": ["Hanako@b.example"], "tags": ["客"]},
    {"name": "鈴木 一郎", "company": "鈴木 & 娘", "emails": [], "tags": ["客"]},
    {"name": "他人", "company": "", "emails": ["other@c.example"], "tags": ["別"]},
]


@pytest_asyncio.fixture
async def office(world: World) -> Office:
    """Four people in the segment: one without e-mail, one with another's e-mail."""
    tenant = await world.tenant("sakura")
    made = Office(world, tenant, await world.master(tenant), 0)
    for person in PEOPLE:
        await made.call("POST", "/addresses", 201, json=person)
    await made.call("POST", "/settings/sender-addresses", 201, json={"email": SENDER, "name": "さくら"})
    await made.rules()
    tag = (await made.sql("SELECT id FROM tag WHERE name = '客'"))[0]["id"]
    tree = {"kind": "all", "of": [{"kind": "tag", "tag_id": tag}]}
    made.segment = await made.new_segment("お客様", tree)
    return made
