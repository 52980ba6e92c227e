"""Exports: what comes out goes in again as it was; formulas, labels, characters that do not fit, other people."""

from __future__ import annotations

import zipfile

import pytest
from elink_app.ops.servers import Stop
from elink_app.transfer import exporter
from elink_app.transfer.store import Shelf

from tests.tenant_app.people.support import member
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


async def test_a_workbook_of_texts_that_goes_in_again_and_survives_kills(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, empty = await make_bench(world), await make_bench(world)
    rows = [
        person("=cmd|'/c calc'!A1", "a@x.jp", phone="+81-3-1234", notes='一\n<&>"二'),
        person("'=already", "b@x.jp", company="  "),
        person("𠮷野家", "c@x.jp", notes="=HYPERLINK(1)"),
        *[person(f"n{n}", f"n{n}@x.jp") for n in range(5)],
    ]
    await bench.imported(table(*rows))
    monkeypatch.setattr(exporter, "BATCH", 3)
    real, steps = exporter.ExportHandler.step, 0

    class Killed(BaseException):
        """Nothing of ours runs afterwards."""

    async def step(self: exporter.ExportHandler, batch: object) -> bool:
        nonlocal steps
        over = await real(self, batch)  # type: ignore[arg-type]
        steps += 1
        if steps % 2:
            raise Killed
        return over

    monkeypatch.setattr(exporter.ExportHandler, "step", step)
    wanted = {"format": "xlsx", "encoding": "utf-8", "unfit": "refuse", "rights": {"is_master": True}}
    number = await bench.start("export", **wanted)
    for _ in range(40):
        try:
            if not await bench.runner().run(bench.tenant, Stop()):
                break
        except Killed:
            await bench.rows("UPDATE job SET lease_until = now() - interval '1 second' RETURNING id")
    job = await bench.job(number)
    assert (job["state"], job["result"]["rows"]) == ("done", 8)
    path = bench.store.path(bench.tenant, Shelf.EXPORTS, job["result"]["file"])
    # What it was made from is gone, and so is what a killed step wrote.
    assert list(path.parent.iterdir()) == [path]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert sheet.count("<c ") == sheet.count('<c t="inlineStr">')
    columns = ["name", "kana", "company", *["emails"] * 5, "phone", "postal_code", "postal_address", "notes", "tags"]
    await empty.imported(path.read_bytes(), columns=columns, workbook=True)

    def plain(found: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if name != "id"} for row in found]

    assert plain(await empty.addresses()) == plain(await bench.addresses())


async def test_a_file_is_no_way_round_a_right_that_was_taken_away(world: World) -> None:
    bench = await make_bench(world)
    me = await master(bench)
    await bench.imported(table(person("甲社", "a@x.jp", tags="甲"), person("乙社", "b@x.jp")))
    clerk, _, _ = await member(world, bench.tenant, me, "addresses:view", "addresses:export")
    number = (await clerk.api("POST", "/api/v1/exports", json={})).json()["job"]
    await bench.work()
    assert "甲社" in (await clerk.get(f"/api/v1/exports/{number}/file")).text
    await bench.rows("UPDATE tag SET is_label = true WHERE name = '甲' RETURNING id")
    refused = await clerk.get(f"/api/v1/exports/{number}/file")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "export-outdated")
    assert (await clerk.get(f"/exports/{number}/file")).status_code == 409
    assert (await me.get(f"/api/v1/exports/{number}/file")).status_code == 200
    again = (await clerk.api("POST", "/api/v1/exports", json={})).json()["job"]
    await bench.work()
    file = await clerk.get(f"/api/v1/exports/{again}/file")
    assert (file.status_code, "甲社" in file.text, "乙社" in file.text) == (200, False, True)


async def test_by_the_api_a_segment_for_who_may(world: World) -> None:
    bench = await make_bench(world)
    me = await master(bench)
    rows = [person("甲社", "a@x.jp", tags="甲"), person("𠮷社", "b@x.jp"), person("秘", "s@x.jp", tags="極秘")]
    await bench.imported(table(*rows))
    await bench.rows("UPDATE tag SET is_label = true WHERE name = '極秘' RETURNING id")
    tags = {row["name"]: row["id"] for row in await bench.rows("SELECT id, name::text FROM tag")}
    trees = {
        "甲でない": {"kind": "none", "of": [{"kind": "tag", "tag_id": tags["甲"]}]},
        "秘": {"kind": "all", "of": [{"kind": "tag", "tag_id": tags["極秘"]}]},
    }
    segments = {}
    for name, tree in trees.items():
        made = await me.api("POST", "/api/v1/segments", json={"name": name, "tree": tree})
        segments[name] = made.json()["id"]
    clerk, _, _ = await member(world, bench.tenant, me, "addresses:view", "addresses:export")
    weak, _, _ = await member(world, bench.tenant, me, "addresses:view", "addresses:edit")
    assert (await weak.api("POST", "/api/v1/exports", json={})).status_code == 403
    assert (await weak.get("/api/v1/exports/1/file")).status_code == 403
    for wrong in ({"format": "exe"}, {"segment_id": "1"}, {"encoding": "utf-7"}, {"q": "a\0"}, {"file": "x"}):
        assert (await clerk.api("POST", "/api/v1/exports", json=wrong)).status_code == 422, wrong
    # A segment about a label that does not exist for him.
    hidden = await clerk.api("POST", "/api/v1/exports", json={"segment_id": segments["秘"]})
    assert hidden.status_code == 404
    asked = {"segment_id": segments["甲でない"], "encoding": "cp932", "unfit": "replace"}
    queued = await clerk.api("POST", "/api/v1/exports", json=asked)
    assert queued.status_code == 202, queued.text
    number = queued.json()["job"]
    assert (await clerk.get(f"/api/v1/exports/{number}/file")).status_code == 404
    await bench.work()
    job = (await clerk.get(f"/api/v1/jobs/{number}")).json()
    assert (job["result"]["rows"], job["result"]["unfit"], job["result"]["replaced"]) == (1, ["𠮷"], 1)
    file = await clerk.get(f"/api/v1/exports/{number}/file")
    assert "〓社" in file.content.decode("cp932")
    assert "秘" not in file.content.decode("cp932")
    assert (await weak.get(f"/exports/{number}/file")).status_code == 403
    other, _, _ = await member(world, bench.tenant, me, "addresses:view", "addresses:export")
    assert (await other.get(f"/api/v1/exports/{number}/file")).status_code == 404
    assert (await other.get("/exports")).status_code == 200
    page = await me.get("/exports")
    assert "甲でない" in page.text
    assert (await me.post("/exports", {"segment_id": str(segments["秘"]), "format": "xlsx"})).status_code == 303
    await bench.work()
    (newest,) = await bench.rows("SELECT result::text FROM job ORDER BY id DESC LIMIT 1")
    assert '"rows": 1' in newest["result"]
