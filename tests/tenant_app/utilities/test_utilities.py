"""Utility programs by the API and the real worker: counted, run, killed, undone; labels and permissions hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.transfer.cleaner import TransferCleaner
from elink_app.utilities import handlers

from tests.tenant_app.people.support import member
from tests.tenant_app.support import Browser, World
from tests.tenant_app.transfer.support import Bench, make_bench, person, table
from tests.tenant_app.transfer.test_pages import master

pytestmark = pytest.mark.postgres

RUNNERS = ["addresses:view", "addresses:edit", "utilities:run"]


@pytest.fixture
async def bench(world: World) -> Bench:
    return await make_bench(world)


async def tried(me: Browser, status: int = 201, **request: Any) -> dict[str, Any]:
    answer = await me.api("POST", "/api/v1/utilities", json={"request": request})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ran(bench: Bench, me: Browser, **request: Any) -> dict[str, Any]:
    """Tried, run and looked at."""
    made = await tried(me, **request)
    answer = await me.api("POST", f"/api/v1/utilities/{made['id']}/run", json={"count": made["count"]})
    assert answer.status_code == 200, answer.text
    await bench.work()
    found: dict[str, Any] = (await me.get(f"/api/v1/utilities/{made['id']}")).json()
    assert found["state"] == "done", found
    return found


async def undone(bench: Bench, me: Browser, run: int) -> dict[str, int]:
    answer = await me.api("POST", f"/api/v1/utilities/{run}/undo")
    assert answer.status_code == 200, answer.text
    await bench.work()
    result: dict[str, int] = (await bench.job(answer.json()["job"]))["result"]
    return result


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "version"} for row in rows]


async def test_edit_counts_exactly_changes_only_those_and_is_undone(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(
        table(
            person("一", "a@x.jp", company="旧社", tags="甲"),
            person("二", "b@x.jp", company="新社", tags="甲"),
            person("三", "c@x.jp", company="旧社"),
        )
    )
    before = await bench.addresses()
    made = await tried(me, program="edit", target={"tag": "甲"}, field="company", value="新社")
    # The second bears it already, the third is not among them.
    assert made["count"] == 1
    assert [(one["name"], one["before"], one["after"]) for one in made["sample"]] == [("一", "旧社", "新社")]
    assert await bench.addresses() == before
    done = await ran(bench, me, program="edit", target={"tag": "甲"}, field="company", value="新社")
    assert done["result"] == {"changed": 1, "unchanged": 0, "refused": 0}
    assert [row["company"] for row in await bench.addresses()] == ["新社", "新社", "旧社"]
    assert (await tried(me, program="edit", target={"tag": "甲"}, field="company", value="新社"))["count"] == 0
    found = await me.get("/api/v1/addresses", params={"q": "旧社"})
    assert found.json()["total"] == 1
    assert await undone(bench, me, done["id"]) == {"restored": 1, "kept": 0}
    assert plain(await bench.addresses()) == plain(before)
    again = await me.api("POST", f"/api/v1/utilities/{done['id']}/undo")
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "utility-over")
    lines = await bench.rows(
        "SELECT action, after::text FROM audit_entry WHERE action LIKE 'utility.%' ORDER BY number"
    )
    assert [row["action"] for row in lines] == [
        "utility.started",
        "utility.run",
        "utility.undo_started",
        "utility.undone",
    ]
    assert not any("新社" in (row["after"] or "") for row in lines)


async def test_own_fields_are_checked_set_and_cleared(bench: Bench) -> None:
    me = await master(bench)
    for field in (
        {"key": "age", "label": "年齢", "type": "number"},
        {"key": "must", "label": "必須", "type": "text", "required": True},
    ):
        answer = await me.api("POST", "/api/v1/attributes", json=field)
        assert answer.status_code == 201, answer.text
    answer = await me.api("POST", "/api/v1/addresses", json={"name": "一", "attributes": {"must": "有"}})
    assert answer.status_code == 201
    for wrong in ({"field": "attribute:age", "value": "many"}, {"field": "attribute:must"}, {"field": "attribute:none"},
                  {"field": "phone", "value": "abc"}, {"field": "name"}, {"field": "tag_ids"},
                  {"field": "notes", "value": "a\0"}):  # fmt: skip
        await tried(me, 422, program="edit", **wrong)
    done = await ran(bench, me, program="edit", field="attribute:age", value="４２")
    assert (await me.get("/api/v1/addresses")).json()["items"][0]["attributes"] == {"must": "有", "age": 42}
    await ran(bench, me, program="edit", field="attribute:age")
    assert (await me.get("/api/v1/addresses")).json()["items"][0]["attributes"] == {"must": "有"}
    # Somebody saved it since: the older program is not taken back over it.
    assert await undone(bench, me, done["id"]) == {"restored": 0, "kept": 1}


async def test_retag_exchanges_and_large_counts_are_typed(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(*[person(f"n{n}", f"n{n}@x.jp", tags="旧、残") for n in range(120)]))
    asked = {"program": "retag", "add": ["新"], "remove": ["旧"]}
    made = await tried(me, **asked)
    assert made["count"] == 120
    for body in ({}, {"count": 119}):
        answer = await me.api("POST", f"/api/v1/utilities/{made['id']}/run", json=body)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "count-differs")
    assert await bench.rows("SELECT 1 FROM job WHERE kind = 'utility'") == []
    page = await me.get(f"/utilities/runs/{made['id']}")
    assert 'name="count"' in page.text
    refused = await me.post(f"/utilities/runs/{made['id']}/run", {"count": "12"})
    assert refused.status_code == 409
    accepted = await me.post(f"/utilities/runs/{made['id']}/run", {"count": "120"})
    assert accepted.status_code == 303
    await bench.work()
    assert {tuple(row["tags"]) for row in await bench.addresses()} == {("新", "残")}
    assert await undone(bench, me, made["id"]) == {"restored": 120, "kept": 0}
    assert {tuple(row["tags"]) for row in await bench.addresses()} == {("旧", "残")}
    await tried(me, 422, program="retag", add=["甲"], remove=["甲"])
    await tried(me, 422, program="retag")


async def test_delete_is_undone_but_not_what_somebody_deleted_again(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(*[person(f"n{n}", f"n{n}@x.jp") for n in range(3)]))
    before = await bench.addresses()
    done = await ran(bench, me, program="delete")
    assert done["result"] == {"removed": 3}
    assert await bench.addresses() == []
    first = before[0]["id"]
    assert (await me.api("POST", f"/api/v1/addresses/{first}/restore")).status_code == 200
    assert (await me.api("DELETE", f"/api/v1/addresses/{first}")).status_code == 204
    assert await undone(bench, me, done["id"]) == {"restored": 2, "kept": 1}
    assert await bench.addresses() == before[1:]


async def test_undoing_a_deletion_keeps_within_the_plan(world: World) -> None:
    bench = await make_bench(world, limits={"addresses": 3})
    me = await master(bench)
    await bench.imported(table(*[person(f"n{n}", f"n{n}@x.jp") for n in range(3)]))
    done = await ran(bench, me, program="delete")
    await bench.imported(table(person("新", "new@x.jp"), person("新二", "new2@x.jp")))
    assert await undone(bench, me, done["id"]) == {"restored": 1, "kept": 2}
    assert (await bench.row("SELECT value FROM usage"))["value"] == 3


async def test_duplicates_are_merged_and_come_apart_again(bench: Bench) -> None:
    me = await master(bench)
    rows = [
        person("山田", "a@x.jp", tags="甲"),
        person("山田", "A@x.jp b@x.jp", phone="03-1", tags="乙"),
        person("別人", "b@x.jp"),
        person("一人", "z@x.jp"),
    ]
    await bench.imported(table(*rows), existing="add")
    before = await bench.addresses()
    made = await tried(me, program="merge", likeness="email")
    assert made["count"] == 2
    assert made["sample"][0]["after"] == "山田 a@x.jp b@x.jp"
    done = await ran(bench, me, program="merge", likeness="email")
    assert done["result"] == {"changed": 2, "merged": 2, "apart": 0}
    kept, alone = await bench.addresses()
    assert (kept["id"], kept["emails"], kept["phone"], kept["tags"]) == (
        before[0]["id"],
        ["a@x.jp", "b@x.jp"],
        "03-1",
        ["乙", "甲"],
    )
    assert alone["name"] == "一人"
    # Who went into whom is known when the merged are erased; it is undone with the program, not by itself.
    merges = await bench.rows(
        "SELECT m.id FROM address_merge m, address a WHERE a.id = ANY(m.merged_ids) AND a.deleted_at = m.at"
    )
    assert len(merges) == 2
    assert (await me.api("POST", f"/api/v1/duplicates/merges/{merges[0]['id']}/undo")).status_code == 409
    assert await undone(bench, me, done["id"]) == {"restored": 3, "kept": 0}
    assert plain(await bench.addresses()) == plain(before)


@pytest.mark.parametrize("program", ["retag", "delete", "merge", "suppress"])
async def test_killed_between_and_within_batches_it_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    me = await master(bench)
    await bench.imported(table(*[person(f"n{n // 2}", f"n{n // 2}@x.jp") for n in range(14)]), existing="add")
    before = await bench.addresses()
    monkeypatch.setattr(handlers, "BATCH", 3)
    monkeypatch.setattr(handlers, "GROUPS", 2)
    extra = {"retag": {"add": ["印"]}, "suppress": {"detail": "苦情"}}.get(program, {})
    made = await tried(me, program=program, **extra)
    answer = await me.api("POST", f"/api/v1/utilities/{made['id']}/run", json={})
    job = answer.json()["job"]
    real = handlers.UtilityHandler.step
    steps = 0

    class Killed(BaseException):
        """Like the end of the process: nothing of ours runs afterwards."""

    async def step(self: Any, batch: Any) -> bool:
        nonlocal steps
        over = await real(self, batch)
        steps += 1
        if steps % 2:
            # All is written, and nothing is committed.
            raise Killed
        return over

    monkeypatch.setattr(handlers.UtilityHandler, "step", step)
    for _ in range(40):
        try:
            if not await bench.runner().run(bench.tenant, Stop()):
                break
        except Killed:
            await bench.rows("UPDATE job SET lease_until = now() - interval '1 second' WHERE id = $1 RETURNING id", job)
    found = await bench.job(job)
    assert found["state"] == "done", found
    after = await bench.addresses()
    if program == "retag":
        assert {(row["version"], tuple(row["tags"])) for row in after} == {(2, ("印",))}
        assert found["result"]["changed"] == 14
    elif program == "delete":
        assert (after, found["result"]["removed"]) == ([], 14)
    elif program == "merge":
        assert (len(after), found["result"]["merged"]) == (7, 7)
    else:
        assert len(await bench.rows("SELECT 1 FROM suppression")) == found["result"]["blocked"] == 7
    monkeypatch.setattr(handlers.UtilityHandler, "step", real)
    await undone(bench, me, made["id"])
    assert plain(await bench.addresses()) == plain(before)
    assert await bench.rows("SELECT 1 FROM suppression WHERE lifted_at IS NULL") == []


async def test_a_list_of_e_mails_is_suppressed_and_undoing_lifts_only_that(bench: Bench) -> None:
    me = await master(bench)
    await me.api("POST", "/api/v1/suppressions", json={"email": "old@x.jp", "detail": "前から"})
    emails = ["old@x.jp", "new@x.jp", "lifted@x.jp", "left@x.jp"]
    made = await tried(me, program="suppress", emails=emails, detail="他社の名簿")
    assert (made["count"], made["request"]["emails"]) == (3, 4)
    done = await ran(bench, me, program="suppress", emails=emails, detail="他社の名簿")
    assert done["result"] == {"blocked": 3}
    (lifted,) = await bench.rows("SELECT id FROM suppression WHERE email_key = 'lifted@x.jp'")
    answer = await me.api("POST", f"/api/v1/suppressions/{lifted['id']}/lift", json={"why": "頼まれた"})
    assert answer.status_code == 200
    # The person himself opted out meanwhile: that stays.
    await bench.rows("INSERT INTO suppression (email_key, reason) VALUES ('left@x.jp', 'unsubscribed') RETURNING id")
    assert await undone(bench, me, done["id"]) == {"lifted": 2, "kept": 1}
    active = await bench.rows("SELECT email_key, reason FROM suppression WHERE lifted_at IS NULL ORDER BY 1")
    assert [tuple(row.values()) for row in active] == [("left@x.jp", "unsubscribed"), ("old@x.jp", "blocked")]
    (kept,) = await bench.rows("SELECT lifted_why FROM suppression WHERE email_key = 'lifted@x.jp'")
    assert kept["lifted_why"] == "頼まれた"
    for wrong in ({"emails": ["no address"]}, {"emails": ["a@x.jp"], "target": {"tag": "甲"}},
                  {"emails": ["a@x.jp"], "detail": ""},
                  {"emails": ["a@x.jp\r\nBcc: b@x.jp"]}):  # fmt: skip
        await tried(me, 422, **{"program": "suppress", "detail": "x", **wrong})


async def test_undoing_lifts_nothing_that_somebody_has_blocked_since(bench: Bench) -> None:
    me = await master(bench)
    done = await ran(bench, me, program="suppress", emails=["a@x.jp", "b@x.jp"], detail="他社の名簿")
    # The person calls; whoever answers is told that the e-mail gets no mail.
    answer = await me.api("POST", "/api/v1/suppressions", json={"email": "a@x.jp", "detail": "電話での申し出"})
    assert (answer.status_code, answer.json()["suppressed"]) == (201, True)
    assert await undone(bench, me, done["id"]) == {"lifted": 1, "kept": 0}
    active = await bench.rows("SELECT email_key::text FROM suppression WHERE lifted_at IS NULL")
    assert active == [{"email_key": "a@x.jp"}]
    lines = await bench.rows("SELECT key::text FROM audit_entry WHERE action = 'suppression.add'")
    assert lines == [{"key": "a@x.jp"}]


async def test_undoing_brings_no_consent_back(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(person("一", "a@x.jp")))
    given = {"kind": "given", "how": "web", "source": "申込", "wording": "同意します"}
    assert (await me.api("POST", "/api/v1/consents/a@x.jp", json=given)).status_code in (200, 201)
    done = await ran(bench, me, program="delete")
    assert (await me.api("POST", "/api/v1/consents/a@x.jp", json={"kind": "withdrawn"})).status_code in (200, 201)
    assert (await undone(bench, me, done["id"]))["restored"] == 1
    found = (await me.get("/api/v1/consents/a@x.jp")).json()
    assert found["consent"] == "withdrawn"


async def test_labels_hold_in_counts_samples_runs_and_undoing(world: World, bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(
        table(person("公開", "a@x.jp"), person("秘密", "s@x.jp", tags="極秘"), person("秘密", "a@x.jp")), existing="add"
    )
    await bench.rows("UPDATE tag SET is_label = true WHERE name = '極秘' RETURNING id")
    (hidden,) = [row for row in await bench.addresses() if row["tags"]]
    clerk, _, _ = await member(world, bench.tenant, me, *RUNNERS)
    made = await tried(clerk, program="edit", field="notes", value="印")
    assert made["count"] == 2
    assert "極秘" not in str(made)
    assert hidden["id"] not in [one["address"] for one in made["sample"]]
    await ran(bench, clerk, program="edit", field="notes", value="印")
    assert (await bench.row("SELECT notes, version FROM address WHERE id = $1", hidden["id"])) == {
        "notes": "",
        "version": 1,
    }
    assert (await tried(clerk, program="retag", target={"tag": "極秘"}, add=["甲"]))["count"] == 0
    await tried(clerk, 422, program="retag", add=["極秘"])
    # A count would tell which e-mails hidden addresses bear, or others have blocked.
    listed = {"program": "suppress", "emails": ["s@x.jp", "free@x.jp", "t@x.jp"], "detail": "x"}
    await me.api("POST", "/api/v1/suppressions", json={"email": "t@x.jp", "detail": "y"})
    await bench.imported(table(person("秘密", "t@x.jp", tags="極秘")))
    made = await tried(clerk, **listed)
    assert (made["count"], len(made["sample"])) == (3, 3)
    stopped = await ran(bench, clerk, **listed)
    assert stopped["result"] == {"blocked": 3}
    assert (await tried(clerk, **listed))["count"] == 0
    assert (await undone(bench, clerk, stopped["id"]))["lifted"] == 3
    held = await bench.rows("SELECT email_key, detail FROM suppression WHERE lifted_at IS NULL")
    assert [(row["email_key"], row["detail"]) for row in held] == [("t@x.jp", "y")]
    await bench.rows("DELETE FROM address WHERE id = (SELECT max(id) FROM address) RETURNING id")
    done = await ran(bench, clerk, program="delete")
    assert [row["id"] for row in await bench.addresses()] == [hidden["id"]]
    # What became secret meanwhile is not reached by undoing either.
    first = await bench.row("SELECT min(id) AS id FROM address WHERE deleted_at IS NOT NULL")
    await bench.rows("INSERT INTO address_tag SELECT $1, id FROM tag WHERE name = '極秘' RETURNING tag_id", first["id"])
    assert await undone(bench, clerk, done["id"]) == {"restored": 1, "kept": 1}


async def test_who_may_not_gets_nothing_and_others_runs_are_not_there(world: World, bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(person("一", "a@x.jp")))
    made = await tried(me, program="delete")
    (one, _, _), (other, _, _) = [await member(world, bench.tenant, me, *RUNNERS) for _ in range(2)]
    weak, _, _ = await member(world, bench.tenant, me, "addresses:view", "addresses:edit")
    for path in ("/utilities", "/api/v1/utilities", f"/utilities/runs/{made['id']}", f"/api/v1/utilities/{made['id']}"):
        assert (await weak.get(path)).status_code == 403, path
    await tried(weak, 403, program="delete")
    assert (await weak.api("POST", f"/api/v1/utilities/{made['id']}/run", json={"count": 1})).status_code == 403
    assert "/utilities" not in (await weak.get("/addresses")).text
    theirs = await tried(one, program="delete")
    for number in (made["id"], theirs["id"], 2**63 - 1):
        assert (await other.get(f"/api/v1/utilities/{number}")).status_code == 404
        assert (await other.get(f"/utilities/runs/{number}")).status_code == 404
        assert (await other.api("POST", f"/api/v1/utilities/{number}/run", json={"count": 1})).status_code == 404
        assert (await other.api("POST", f"/api/v1/utilities/{number}/undo")).status_code == 404
    assert (await other.get("/api/v1/utilities")).json() == {"items": []}
    assert {run["id"] for run in (await me.get("/api/v1/utilities")).json()["items"]} == {made["id"], theirs["id"]}
    assert len(await bench.addresses()) == 1


async def test_pages_try_run_and_refuse_what_is_wrong(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(person("<b>一</b>", "a@x.jp", company="社")))
    page = await me.get("/utilities")
    assert page.status_code == 200
    wrong = await me.post("/utilities/edit", {"field": "phone", "value": "<script>"})
    assert wrong.status_code == 422
    assert "<script>" not in wrong.text.replace("<script ", "")
    assert (await me.post("/utilities/nothing", {})).status_code == 404
    # A list without any e-mail must not become "all addresses".
    empty = await me.post("/utilities/suppress", {"emails": "", "detail": "x"})
    assert empty.status_code == 422
    token = await me.token("/utilities")
    parts = {"csrf_token": (None, token), "source": (None, "list"), "emails": (None, ""), "detail": (None, "x")}
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = await me.client.post("/utilities/suppress", files=parts, headers=headers)
    assert answer.status_code == 422
    listed = {**parts, "file": ("list.csv", 'メール,名前\r\n"a@x.jp",あ\r\nb@x.jp,い'.encode("cp932"))}
    answer = await me.client.post("/utilities/suppress", files=listed, headers=headers)
    assert answer.status_code == 303
    assert "b@x.jp" in (await me.get(answer.headers["location"])).text
    answer = await me.post("/utilities/edit", {"field": "company", "value": ""})
    shown = await me.get(answer.headers["location"])
    assert "&lt;b&gt;一&lt;/b&gt;" in shown.text
    assert (await me.post(f"{answer.headers['location']}/run", {"count": "1"})).status_code == 303
    await bench.work()
    assert (await bench.addresses())[0]["company"] == ""
    assert "/undo" in (await me.get(answer.headers["location"])).text


async def test_the_cleaner_forgets_what_undoing_needed_and_keeps_the_log(bench: Bench) -> None:
    from tests.tenant_app.worker.test_housekeeping import keeper

    me = await master(bench)
    await bench.imported(table(person("一", "a@x.jp")))
    await tried(me, program="delete")
    await ran(bench, me, program="suppress", emails=["b@x.jp"], detail="x")
    await ran(bench, me, program="edit", field="company", value="社")
    await bench.rows(
        "UPDATE utility_run SET created_at = now() - interval '8 days', "
        "finished_at = finished_at - interval '8 days' RETURNING id"
    )
    await bench.rows("UPDATE job SET finished_at = finished_at - interval '8 days' RETURNING id")
    assert (await keeper(bench.world).clean(bench.tenant))["utilities"] == 3
    runs = await bench.rows("SELECT program, request::text AS request FROM utility_run ORDER BY id")
    assert [row["program"] for row in runs] == ["suppress", "edit"]
    assert not any("b@x.jp" in row["request"] or "社" in row["request"] for row in runs)
    assert await bench.rows("SELECT 1 FROM utility_suppression") == []
    listed = (await me.get("/api/v1/utilities")).json()["items"]
    assert [(run["state"], run["undo_until"]) for run in listed] == [("done", None), ("done", None)]
    assert (await me.api("POST", f"/api/v1/utilities/{listed[0]['id']}/undo")).status_code == 409


async def later(bench: Bench, days: int = 8) -> None:
    """Everything so far was that long ago, and both cleaners of the worker have been there since."""
    from tests.tenant_app.worker.test_housekeeping import keeper

    for table_name, columns in (
        ("job", ("created_at", "started_at", "finished_at")),
        ("utility_run", ("created_at", "started_at", "finished_at")),
        ("address", ("created_at", "updated_at", "deleted_at")),
        ("bulk_change", ("deleted_at",)),
    ):
        changes = ", ".join(f"{name} = {name} - interval '{days} days'" for name in columns)
        await bench.rows(f"UPDATE {table_name} SET {changes}")
    await keeper(bench.world).clean(bench.tenant)
    cleaner = TransferCleaner(bench.world.parts.databases, bench.store, utc_now, timedelta(days=7))
    assert await cleaner.run(bench.tenant, Stop()) is False


async def test_work_that_waited_for_longer_than_the_undo_window_does_what_was_asked(bench: Bench) -> None:
    """As in a tenant that was suspended meanwhile: no list becomes everybody, no value an empty one."""
    me = await master(bench)
    await bench.imported(table(person("一", "a@x.jp", company="旧社"), person("二", "b@x.jp", company="旧社")))
    for asked in (
        {"program": "suppress", "emails": ["c@x.jp"], "detail": "x"},
        {"program": "edit", "field": "company", "value": "新社"},
    ):
        made = await tried(me, **asked)
        answer = await me.api("POST", f"/api/v1/utilities/{made['id']}/run", json={"count": made["count"]})
        assert answer.status_code == 200
    await later(bench)
    await bench.work()
    assert await bench.rows("SELECT email_key::text FROM suppression") == [{"email_key": "c@x.jp"}]
    assert [row["company"] for row in await bench.addresses()] == ["新社", "新社"]
    await later(bench)
    # Then it is forgotten as ever.
    assert not await bench.rows("SELECT 1 FROM utility_run WHERE request ? 'value' OR request ? 'emails'")


async def test_what_an_undo_needs_waits_for_it(bench: Bench) -> None:
    me = await master(bench)
    await bench.imported(table(person("一", "a@x.jp", company="旧社"), person("二", "b@x.jp", company="旧社")))
    before = await bench.addresses()
    runs = [
        await ran(bench, me, program="suppress", emails=["c@x.jp"], detail="x"),
        await ran(bench, me, program="edit", target={"q": "一"}, field="company", value="新社"),
        await ran(bench, me, program="delete", target={"q": "二"}),
    ]
    asked = [await me.api("POST", f"/api/v1/utilities/{run['id']}/undo") for run in runs]
    assert [answer.status_code for answer in asked] == [200] * 3
    await later(bench)
    await bench.work()
    results = [(await bench.job(answer.json()["job"]))["result"] for answer in asked]
    assert results == [{"lifted": 1, "kept": 0}, {"restored": 1, "kept": 0}, {"restored": 1, "kept": 0}]
    assert plain(await bench.addresses()) == plain(before)
    await later(bench)
    assert await bench.rows("SELECT 1 FROM bulk_change") == await bench.rows("SELECT 1 FROM utility_suppression") == []


async def test_a_choice_that_was_taken_away_since_the_trial_clears_nothing(bench: Bench) -> None:
    me = await master(bench)
    field = {"label": "ランク", "choices": ["A", "B"]}
    made = await me.api("POST", "/api/v1/attributes", json={"key": "rank", "type": "choice", **field})
    await me.api("POST", "/api/v1/addresses", json={"name": "一", "attributes": {"rank": "A"}})
    run = await tried(me, program="edit", field="attribute:rank", value="B")
    assert run["count"] == 1
    answer = await me.api("POST", f"/api/v1/utilities/{run['id']}/run", json={"count": 1})
    assert answer.status_code == 200
    where = f"/api/v1/attributes/{made.json()['id']}"
    assert (await me.api("PUT", where, json={**field, "choices": ["A"]})).status_code == 200
    await bench.work()
    assert (await me.get("/api/v1/addresses")).json()["items"][0]["attributes"] == {"rank": "A"}
