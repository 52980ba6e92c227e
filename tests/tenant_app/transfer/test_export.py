"""Exports: what comes out goes in again as it was; formulas, labels, characters that do not fit, other people."""

from __future__ import annotations

import pytest
from elink_app.transfer.store import Shelf

from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import Bench, make_bench, person, table
from tests.tenant_app.transfer.test_pages import master

pytestmark = pytest.mark.postgres


async def exported(bench: Bench, rights: dict[str, object], **asked: str) -> tuple[dict[str, object], bytes]:
    wanted = {"format": "csv", "encoding": "utf-8", "unfit": "refuse", **asked}
    number = await bench.start("export", rights=rights, **wanted)
    await bench.work()
    job = await bench.job(number)
    name = job["result"].get("file")
    path = bench.store.path(bench.tenant, Shelf.EXPORTS, name) if job["state"] == "done" else None
    return job, path.read_bytes() if path else b""


async def test_out_and_in_again_labels_hold_and_others_get_nothing(world: World) -> None:
    bench, empty = await make_bench(world), await make_bench(world)
    rows = [
        person("=cmd|'/c calc'!A1", "a@x.jp", phone="+81-3-1234", notes="一\n二", tags="甲、乙"),
        person("'=already", "b@x.jp c@x.jp"),
        person("𠮷野家", notes="-1"),
        person("秘密", "s@x.jp", tags="極秘"),
    ]
    await bench.imported(table(*rows))
    await bench.rows("UPDATE tag SET is_label = true WHERE name = '極秘' RETURNING id")
    everything, data = await exported(bench, {"is_master": True})
    assert everything["result"]["rows"] == 4  # type: ignore[index]
    assert data.startswith(b"\xef\xbb\xbf")
    text = data.decode("utf-8-sig")
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in text.splitlines() for cell in line.split(","))
    columns = ["name", "kana", "company", *["emails"] * 5, "phone", "postal_code", "postal_address", "notes", "tags"]
    await empty.imported(data, columns=columns)

    def plain(found: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if name != "id"} for row in found]

    assert plain(await empty.addresses()) == plain(await bench.addresses())
    fewer, data = await exported(bench, {"is_master": False, "roles": []})
    assert fewer["result"]["rows"] == 3  # type: ignore[index]
    assert "秘密" not in data.decode()
    refused, _ = await exported(bench, {"is_master": True}, encoding="cp932")
    assert (refused["state"], refused["result"]["unfit"]) == ("failed", ["𠮷"])  # type: ignore[index]
    replaced, data = await exported(bench, {"is_master": True}, encoding="cp932", unfit="replace")
    assert replaced["result"]["replaced"] == 1  # type: ignore[index]
    assert "〓野家" in data.decode("cp932")
    me, stranger = await master(bench), await master(empty)
    assert (await me.get(f"/exports/{everything['id']}/file")).status_code == 200
    assert (await stranger.get(f"/exports/{everything['id']}/file")).status_code == 404
    asked = await me.post("/exports", {"encoding": "cp932"})
    assert asked.status_code == 303
    assert (await me.get(asked.headers["location"])).status_code == 200
