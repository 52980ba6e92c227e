"""The consent column: only a clear yes with its proof, and never over what is recorded, suppressed or hidden."""

from __future__ import annotations

import asyncpg
import pytest
from elink_app.transfer.columns import Columns

from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import make_bench
from tests.tenant_app.transfer.test_pages import master

pytestmark = pytest.mark.postgres

COLUMNS = ["name", "emails", "consent"]
PROOF = {"consent_source": "2026年展示会の申込書", "consent_wording": "お知らせメールの受け取りに同意します"}


def sheet(*rows: tuple[str, str, str]) -> bytes:
    lines = [("名前", "メール", "同意"), *rows]
    return "\r\n".join(",".join(line) for line in lines).encode()


@pytest.mark.parametrize(
    ("cell", "said"),
    [("はい", True), (" ＹＥＳ ", True), ("1", True), ("〇", True), ("同意する", True), ("", False), ("いいえ", False),
     ("同意しない", False), ("はい?", False), ("2", False), ("0", False), ("はい いいえ", False)],
)  # fmt: skip
def test_only_a_clear_yes_counts(cell: str, said: bool) -> None:
    assert Columns(["name", "consent"]).consents(["名", cell]) is said
    assert Columns(["name", "notes"]).consents(["名", cell]) is False
    assert Columns(["consent", "consent"]).consents([cell, "いいえ"]) is False
    assert Columns(["consent"]).consents([]) is False


async def test_consents_are_added_where_there_is_none_and_nowhere_else(world: World) -> None:
    bench = await make_bench(world)
    await bench.rows(
        "INSERT INTO consent (email_key, kind, at, source) VALUES "
        "('given@x.jp', 'given', now() - interval '9 days', 'x'), "
        "('gone@x.jp', 'withdrawn', now() - interval '9 days', 'x') RETURNING id"
    )
    await bench.rows(
        "INSERT INTO suppression (email_key, reason) VALUES ('stop@x.jp', 'unsubscribed'), ('back@x.jp', 'bounced') "
        "RETURNING id"
    )
    before = await bench.rows("SELECT * FROM consent ORDER BY id")
    rows = [
        ("新", "New@x.jp", "はい"), ("否", "no@x.jp", "いいえ"), ("空", "empty@x.jp", ""), ("既", "given@x.jp", "はい"),
        ("撤", "GONE@x.jp", "はい"), ("停", "stop@x.jp", "はい"), ("戻", "back@x.jp", "はい"),
        ("悪", "not an address", "はい"), ("無", "", "はい"), ("新二", "new@x.jp", "はい"),
    ]  # fmt: skip
    # Without proof nothing is recorded, whoever queued it.
    for proof in ({}, {"consent_source": "x"}, {"consent_wording": "x"}):
        job = await bench.imported(sheet(*rows), columns=COLUMNS, **proof)
        assert job["state"] == "done"
        assert await bench.rows("SELECT * FROM consent ORDER BY id") == before
    job = await bench.imported(sheet(*rows), columns=COLUMNS, **PROOF)
    assert (job["result"]["consents"], job["result"]["bad"]) == (1, 1)
    found = await bench.rows("SELECT * FROM consent ORDER BY id")
    assert found[:2] == before
    (new,) = found[2:]
    assert (new["email_key"], new["kind"], new["how"]) == ("new@x.jp", "given", "import")
    assert (new["source"], new["wording"]) == (PROOF["consent_source"], PROOF["consent_wording"])
    assert len(await bench.rows("SELECT 1 FROM suppression WHERE lifted_at IS NULL")) == 2
    again = await bench.imported(sheet(*rows), columns=COLUMNS, **PROOF)
    assert again["result"]["consents"] == 0
    assert len(await bench.rows("SELECT 1 FROM consent")) == 3
    line = await bench.row("SELECT after::text FROM audit_entry WHERE key = $1", str(job["id"]))
    assert '"consents": 1' in line["after"]


async def test_hidden_addresses_and_rows_left_out_are_not_touched(world: World) -> None:
    bench = await make_bench(world)
    secret = "名前,メール,タグ\r\n秘,s@x.jp,極秘".encode()
    await bench.imported(secret, columns=["name", "emails", "tags"])
    await bench.rows("UPDATE tag SET is_label = true RETURNING id")
    content, rights = sheet(("他", "s@x.jp", "はい")), {"is_master": False, "roles": []}
    from elink_app.transfer.plan import Plan

    plan = Plan.model_validate({"columns": COLUMNS, **PROOF}).model_dump(mode="json")
    await bench.start("import", file=bench.put(content), plan=plan, rights=rights)
    await bench.work()
    assert await bench.rows("SELECT 1 FROM consent") == []
    known = sheet(("他", "s@x.jp", "はい"))
    job = await bench.imported(known, columns=COLUMNS, existing="skip", **PROOF)
    assert job["result"]["skipped"] == 1
    assert await bench.rows("SELECT 1 FROM consent") == []


async def test_a_consent_column_needs_its_proof(world: World) -> None:
    bench = await make_bench(world)
    me = await master(bench)
    content = sheet(("新", "new@x.jp", "はい"))
    headers = {"Content-Type": "application/octet-stream"}
    made = await me.api("POST", "/api/v1/imports?name=a.csv", content=content, headers=headers)
    number = made.json()["id"]
    plan = (await me.get(f"/api/v1/imports/{number}")).json()["plan"]
    # It is never guessed.
    assert "consent" not in plan["columns"]
    plan["columns"] = COLUMNS
    for proof in ({}, {"consent_source": "x"}, {"consent_source": "x", "consent_wording": " "}):
        answer = await me.api("PUT", f"/api/v1/imports/{number}/plan", json={**plan, **proof})
        assert answer.status_code == 200, answer.text
        assert (await me.api("POST", f"/api/v1/imports/{number}/run")).status_code == 409
    wrong = await me.api("PUT", f"/api/v1/imports/{number}/plan", json={**plan, "consent_source": "a\0b"})
    assert wrong.status_code == 422
    form = {"columns": COLUMNS, "has_heading": "yes", "existing": "update", "action": "check", **PROOF}
    checked = await me.post(f"/imports/{number}", form)
    assert checked.status_code == 303
    assert PROOF["consent_wording"] in (await me.get(f"/imports/{number}")).text
    assert (await me.post(f"/imports/{number}/run")).status_code == 303
    await bench.work()
    (only,) = await bench.rows("SELECT email_key, recorded_by FROM consent")
    assert only["email_key"] == "new@x.jp"
    assert "@" in only["recorded_by"]


async def test_undo_takes_back_what_was_recorded_and_no_other_word(world: World) -> None:
    bench = await make_bench(world)
    me = await master(bench)
    people = ("a", "later", "before", "withdrew", "hidden")
    rows = [(name, f"{name}@x.jp", "はい") for name in people]
    await bench.rows(
        "INSERT INTO consent (email_key, kind, at) VALUES ('before@x.jp', 'given', now() - interval '9 days') "
        "RETURNING id"
    )
    job = await bench.imported(sheet(*rows), columns=COLUMNS, **PROOF)
    assert job["result"]["consents"] == 4
    # What people said since is theirs.
    await bench.rows(
        "INSERT INTO consent (email_key, kind, at) VALUES ('later@x.jp', 'given', now()), "
        "('withdrew@x.jp', 'withdrawn', now()) RETURNING id"
    )
    before = await bench.rows("SELECT * FROM consent ORDER BY id")
    number = (await me.api("POST", f"/api/v1/jobs/{job['id']}/undo")).json()["job"]
    await bench.work()
    undone = await bench.job(number)
    assert (undone["state"], undone["result"]["retracted"]) == ("done", 4)
    ledger = await bench.rows("SELECT * FROM consent ORDER BY id")
    assert ledger[: len(before)] == before
    assert {row["kind"] for row in ledger[len(before) :]} == {"retracted"}
    current = {row["email_key"]: row["kind"] for row in await bench.rows("SELECT email_key, kind FROM consent_current")}
    assert current == {"before@x.jp": "given", "later@x.jp": "given", "withdrew@x.jp": "withdrawn"}
    assert "記録の取り消し" in (await me.get("/consents?email=a@x.jp")).text
    assert (await me.get("/api/v1/consents/a@x.jp")).json()["consent"] is None
    # It can be imported again, and undone again; a line is taken back once.
    again = await bench.imported(sheet(*rows), columns=COLUMNS, **PROOF)
    assert again["result"]["consents"] == 2
    with pytest.raises(asyncpg.UniqueViolationError):
        await bench.rows(
            "INSERT INTO consent (email_key, kind, at, retracts) "
            "SELECT email_key, 'retracted', now(), retracts FROM consent WHERE kind = 'retracted' RETURNING id"
        )


@pytest.mark.parametrize("erased", [False, True])
async def test_undo_leaves_consents_of_hidden_people(world: World, erased: bool) -> None:
    bench = await make_bench(world)
    await bench.imported("名前,メール,タグ\r\n秘,s@x.jp,極秘".encode(), columns=["name", "emails", "tags"])
    job = await bench.imported(sheet(("秘", "s@x.jp", "はい"), ("他", "o@x.jp", "はい")), columns=COLUMNS, **PROOF)
    assert job["result"]["consents"] == 2
    await bench.rows("UPDATE tag SET is_label = true RETURNING id")
    rights = {"is_master": False, "roles": []}
    if erased:
        # Nobody bears the e-mail any more: what the import recorded about it goes all the same.
        await bench.rows("DELETE FROM address WHERE name = '他' RETURNING id")
    number = await bench.start("import-undo", job=job["id"], rights=rights)
    await bench.work()
    assert (await bench.job(number))["result"]["retracted"] == 1
    assert [row["email_key"] for row in await bench.rows("SELECT email_key FROM consent_current")] == ["s@x.jp"]
