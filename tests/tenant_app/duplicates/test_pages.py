"""Duplicates by the pages."""

from __future__ import annotations

import re

import pytest

from tests.tenant_app.duplicates.test_duplicates import add
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

SCRIPT = "<script>alert(1)</script>"


async def test_compared_merged_and_parted(world: World) -> None:
    me = await world.master(await world.tenant())
    one = await add(me, emails=["a@b.jp"], notes=SCRIPT)
    two = await add(me, name="山田 次郎", emails=["a@b.jp", "c@d.jp"])
    listed = (await me.get("/duplicates")).text
    assert [int(found) for found in re.findall(r'name="id" value="(\d+)"', listed)] == [one, two]
    page = (await me.get(f"/duplicates/merge?id={one}&id={two}")).text
    assert SCRIPT not in page
    sent = {
        "id": [str(one), str(two)],
        "keep": str(one),
        "name": str(two),
        f"version-{one}": "1",
        f"version-{two}": "1",
    }
    stale = await me.post("/duplicates/merge", {**sent, f"version-{one}": "9"})
    assert stale.status_code == 409
    again = await me.post("/duplicates/merge", {**sent, "keep": str(two), f"version-{one}": "9"})
    checked = re.findall(r'name="(\w+)" value="(\d+)" checked', again.text)
    assert checked == [("keep", str(two)), ("name", str(two)), ("notes", str(one))], "what was chosen stays"
    done = await me.post("/duplicates/merge", sent)
    assert done.status_code == 303, done.text
    merged = (await me.get(f"/api/v1/addresses/{one}")).json()
    assert (merged["name"], merged["emails"], merged["notes"]) == ("山田 次郎", ["a@b.jp", "c@d.jp"], SCRIPT)
    undo = re.search(r'action="(/duplicates/merges/\d+/undo)"', (await me.get(done.headers["location"])).text)
    assert undo is not None
    assert (await me.post(undo[1])).status_code == 303
    assert (await me.post(undo[1])).status_code == 404
    assert (await me.get("/api/v1/addresses")).json()["total"] == 2


async def test_wrong_forms(world: World) -> None:
    me = await world.master(await world.tenant())
    one = str(await add(me))
    for query in ("", f"?id={one}", f"?id={one}&id={one}", f"?id={one}&id=99999", "?id=x&id=y", f"?id={one}&id=-1"):
        assert (await me.get(f"/duplicates/merge{query}")).status_code == 404, query
    for sent in ({}, {"id": one, "keep": one}, {"id": [one, "99999"], "keep": one, f"version-{one}": "1"}):
        assert (await me.post("/duplicates/merge", sent)).status_code in (404, 422), sent
    assert (await me.get("/api/v1/addresses")).json()["total"] == 1
