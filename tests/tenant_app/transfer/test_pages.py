"""An import as a person makes one, and as others try to: uploads, strangers' ids, forged forms."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World
from tests.tenant_app.transfer.support import Bench, make_bench, person, table

pytestmark = pytest.mark.postgres

HEADING = ["氏名", "フリガナ", "会社名", "メールアドレス", "電話番号", "〒", "住所", "備考", "タグ"]


@pytest.fixture
async def bench(world: World) -> Bench:
    return await make_bench(world)


async def master(bench: Bench) -> Browser:
    made = bench.world.browser(bench.tenant.host)
    answer = await made.post(
        "/setup",
        {
            "token": f"setup-{bench.tenant.name}-0123456789abcdef",
            "password": "a b c correct horse",
            "password_repeated": "a b c correct horse",
        },
        page=f"/setup?token=setup-{bench.tenant.name}-0123456789abcdef",
    )
    assert answer.status_code == 303
    return made


async def send(me: Browser, content: bytes, name: str = "名簿.csv", **options: object) -> httpx.Response:
    """Upload as a browser does: the token's field stands before the file."""
    token = options.pop("token", None) or await me.token("/account")
    return await me.client.post(
        "/imports", data={"csrf_token": token}, files={"file": (name, content)}, headers=ORIGIN_HEADERS
    )


def files(bench: Bench) -> list[Path]:
    return [path for path in bench.world.server.settings.tenants_dir.rglob("*") if path.is_file()]


async def test_from_the_upload_to_the_undo(bench: Bench) -> None:
    me = await master(bench)
    rows = [person("山田", "a@x.jp", phone="03-1"), person("悪い", "@")]
    sent = await send(me, table(*rows, heading=HEADING, encoding="cp932"))
    assert sent.status_code == 303, sent.text
    where = sent.headers["location"]
    page = (await me.get(where)).text
    assert "名簿.csv" in page
    assert '<option value="cp932" selected>' in page
    chosen = re.findall(
        r'<option value="(\w*)" selected>', page.partition('name="columns"')[2].partition("</table>")[0]
    )
    assert chosen == ["name", "kana", "company", "emails", "phone", "postal_code", "postal_address", "notes", "tags"]
    form = {"encoding": "cp932", "separator": ",", "has_heading": "yes", "existing": "update", "columns": chosen}
    check = await me.post(where, {**form, "action": "check"})
    assert check.status_code == 303
    assert re.fullmatch(r"/jobs/\d+", check.headers["location"])
    waiting = await me.get(check.headers["location"])
    assert waiting.headers["refresh"] == "3"
    await bench.work()
    page = (await me.get(check.headers["location"])).text
    assert "完了" in page
    assert f'action="{where}/run"' in page
    assert await bench.addresses() == []
    run = await me.post(f"{where}/run")
    await bench.work()
    assert [row["name"] for row in await bench.addresses()] == ["山田"]
    job = run.headers["location"]
    done = await me.get(job)
    assert "refresh" not in done.headers
    assert f'href="{job}/bad-rows"' in done.text
    assert "<dt>取り込めない行</dt><dd>1</dd>" in done.text
    assert "メールアドレスの形式ではありません" in (await me.get(f"{job}/bad-rows")).text
    refused = await me.get(f"{job}/bad-rows.csv")
    assert refused.content.startswith(b"\xef\xbb\xbf")
    assert "悪い" in refused.text
    assert "取り込めない理由" in refused.text
    # Mended and sent again: the columns are known, the reason is not one of them.
    again = await send(me, refused.content.replace(b"@", b"b@x.jp", 1))
    form = (await me.get(again.headers["location"])).text.partition('name="columns"')[2]
    assert re.findall(r'<option value="(\w*)" selected>', form.partition("</table>")[0]) == [*chosen, ""]
    assert (await me.post(f"{job}/undo")).status_code == 303
    await bench.work()
    assert await bench.addresses() == []
    assert (await me.post(f"{job}/undo")).status_code == 409


def columns_of(page: str) -> list[str]:
    """What the columns of a file are set to."""
    form = page.partition('name="columns"')[2].partition("</table>")[0]
    return re.findall(r'<option value="([\w:]*)" selected>', form)


async def test_refused_rows_of_a_file_without_heading_come_back_mended(bench: Bench) -> None:
    """The reasons are no names and no e-mails of anybody."""
    me = await master(bench)
    await me.api("POST", "/api/v1/attributes", json={"key": "rank", "label": "ランク", "type": "text"})
    where = (await send(me, b"a@x.jp,A\r\n@bad,B\r\n")).headers["location"]
    plan = {"encoding": "utf-8-sig", "separator": ",", "existing": "update", "columns": ["emails", "attribute:rank"]}
    assert (await me.post(where, {**plan, "action": "look"})).status_code == 303
    job = (await me.post(f"{where}/run")).headers["location"]
    await bench.work()
    refused = await me.get(f"{job}/bad-rows.csv")
    assert refused.text.splitlines()[0] == "\ufeffメールアドレス,ランク,取り込めない理由"
    again = (await send(me, refused.content.replace(b"'@bad", b"b@x.jp"))).headers["location"]
    assert columns_of((await me.get(again)).text) == ["emails", "attribute:rank", ""]
    await me.post(f"{again}/run")
    await bench.work()
    assert [(row["name"], row["emails"]) for row in await bench.addresses()] == [
        ("a@x.jp", ["a@x.jp"]), ("b@x.jp", ["b@x.jp"]),
    ]  # fmt: skip


async def test_a_field_with_a_long_key_is_remembered_whole(bench: Bench) -> None:
    me = await master(bench)
    key = "k" * 40
    # Whose name is what the table has room for.
    for name, label in ((key, "会員番号"), ("k" * 30, "別")):
        answer = await me.api("POST", "/api/v1/attributes", json={"key": name, "label": label, "type": "text"})
        assert answer.status_code == 201
    for number in range(2):
        where = (await send(me, f"氏名,会員番号\r\n山田{number},A-{number}\r\n".encode())).headers["location"]
        assert columns_of((await me.get(where)).text) == ["name", f"attribute:{key}"]
        assert (await me.post(f"{where}/run")).status_code == 303
        await bench.work()
    found = (await me.get("/api/v1/addresses")).json()["items"]
    assert [one["attributes"] for one in found] == [{key: "A-0"}, {key: "A-1"}]


async def test_the_same_by_the_api(bench: Bench) -> None:
    me = await master(bench)
    made = await me.api("POST", "/api/v1/imports?name=a.csv", content=table(person("山田", "a@x.jp"), heading=HEADING))
    assert made.status_code == 201, made.text
    where = made.headers["location"]
    found = (await me.get(where)).json()
    assert (found["heading"], found["rows"][0][0], found["plan"]["columns"][0]) == (HEADING, "山田", "name")
    plan = {**found["plan"], "encoding": "utf-16"}
    assert (await me.api("PUT", f"{where}/plan", json=plan)).json()["problem"]
    assert (await me.api("POST", f"{where}/check")).status_code == 409
    assert (await me.api("PUT", f"{where}/plan", json=found["plan"])).json()["problem"] is None
    number = (await me.api("POST", f"{where}/run")).json()["job"]
    await bench.work()
    job = (await me.get(f"/api/v1/jobs/{number}")).json()
    assert (job["state"], job["result"]["new"]) == ("done", 1)
    assert (await me.api("POST", f"/api/v1/jobs/{number}/undo")).status_code == 200
    await bench.work()
    assert await bench.addresses() == []
    assert len((await me.get("/api/v1/jobs")).json()["items"]) == 2


async def test_a_job_that_waits_can_be_stopped(bench: Bench) -> None:
    me = await master(bench)
    number = await bench.start_import(table(person("山田")))
    assert (await me.post(f"/jobs/{number}/cancel")).status_code == 303
    await bench.work()
    assert (await me.get(f"/api/v1/jobs/{number}")).json()["state"] == "cancelled"
    assert await bench.addresses() == []
    # Once it is over nothing is asked for any more; the log says who stopped what, and that it ended early.
    await me.post(f"/jobs/{number}/cancel")
    lines = (await me.get("/api/v1/audit?q=job.")).json()["items"]
    told = [(line["action"], line["key"], line["after"]["kind"]) for line in lines if line["kind"] == "job"]
    assert told == [("job.stopped", str(number), "import"), ("job.cancel", str(number), "import")]


async def test_a_job_that_fails_is_in_the_log_with_what_it_had_done(bench: Bench) -> None:
    number = await bench.start_import(b"PK\x03\x04 no workbook", workbook=True)
    await bench.work()
    assert (await bench.job(number))["state"] == "failed"
    (line,) = await bench.rows("SELECT action, key FROM audit_entry WHERE kind = 'job'")
    assert (line["action"], line["key"]) == ("job.failed", str(number))


async def test_what_others_have_does_not_exist(bench: Bench) -> None:
    me, other = await master(bench), await make_bench(bench.world)
    stranger = await master(other)
    where = (await send(me, table(person("山田"), heading=HEADING))).headers["location"]
    number = (await me.post(f"{where}/run")).headers["location"].rpartition("/")[2]
    for browser in (stranger, me):
        expected = 404 if browser is stranger else 200
        for path in (
            where,
            f"/jobs/{number}",
            f"/jobs/{number}/bad-rows",
            f"/jobs/{number}/bad-rows.csv",
            f"/api/v1{where}",
            f"/api/v1/jobs/{number}",
        ):
            assert (await browser.get(path)).status_code == expected, path
    for path in (f"{where}/run", f"/jobs/{number}/cancel", f"/jobs/{number}/undo", where):
        assert (await stranger.post(path, {"action": "check"})).status_code == 404, path
    # In the same tenant: another account's are as unknown; the master's eyes see all.
    await bench.rows("UPDATE account SET is_master = false RETURNING id")
    await bench.rows("UPDATE job SET account_id = 999 RETURNING id")
    answer = await me.get(f"/jobs/{number}")
    assert answer.status_code == 404
    assert (await me.get("/api/v1/jobs")).json()["items"] == []


async def test_names_of_files_lead_nowhere(bench: Bench) -> None:
    me = await master(bench)
    for name in (
        "../../../etc/passwd",
        "..\\..\\x.csv",
        "/etc/shadow",
        "<script>alert(1)</script>.csv",
        "x" * 900,
        "\u202ea.csv",
    ):
        sent = await send(me, table(person("山田"), heading=HEADING), name)
        assert sent.status_code == 303, (name, sent.text)
        page = (await me.get(sent.headers["location"])).text
        assert "<script>alert" not in page
        assert "etc/" not in page
    home = bench.world.server.settings.tenants_dir / bench.tenant.directory / "imports"
    assert all(path.parent == home and re.fullmatch("[0-9a-f]{32}", path.name) for path in files(bench))
    assert len(files(bench)) == 6


async def test_nothing_reaches_the_disk_without_a_session_and_a_token_before_the_file(bench: Bench) -> None:
    me, anonymous = await master(bench), bench.world.browser(bench.tenant.host)
    content = table(person("山田"), heading=HEADING)
    assert (await send(anonymous, content, token=await anonymous.token())).status_code == 401
    assert (await send(me, content, token="x" * 43)).status_code == 403
    token = await me.token("/account")
    late = {"file": ("a.csv", content), "csrf_token": (None, token)}
    assert (await me.client.post("/imports", files=late, headers=ORIGIN_HEADERS)).status_code == 403
    assert (
        await me.client.post(
            "/imports",
            data={"csrf_token": token},
            files={"file": ("a", content)},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
    ).status_code == 403
    two = [("file", ("a", content)), ("file", ("b", content))]
    assert (
        await me.client.post("/imports", data={"csrf_token": token}, files=two, headers=ORIGIN_HEADERS)
    ).status_code == 400
    for body, kind in (
        (b"junk", "multipart/form-data"),
        (b"junk", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
    ):
        answer = await me.client.post("/imports", content=body, headers={**ORIGIN_HEADERS, "Content-Type": kind})
        assert answer.status_code in (400, 403), (body, kind)
    assert (await me.client.post("/api/v1/imports", content=content, headers=ORIGIN_HEADERS)).status_code == 403
    assert files(bench) == []
    # Elsewhere a form with a file is refused as ever.
    assert (await me.client.post("/logout", files=late, headers=ORIGIN_HEADERS)).status_code == 415


async def test_a_large_file_is_streamed_and_bounded(world: World) -> None:
    bench = await make_bench(world, limits={"storageBytes": 60 << 20})
    me = await master(bench)
    token = await me.token("/account")

    async def flood(megabytes: int):
        for _ in range(megabytes):
            yield b"x" * (1 << 20)

    headers = {**ORIGIN_HEADERS, "X-CSRF-Token": token}
    import tracemalloc

    tracemalloc.start()
    answer = await me.client.post("/api/v1/imports", content=flood(50), headers=headers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 201
    assert peak < 24 << 20
    over_quota = await me.client.post("/api/v1/imports", content=flood(11), headers=headers)
    assert over_quota.status_code == 413
    over_limit = await me.client.post("/api/v1/imports", content=flood(101), headers=headers)
    assert over_limit.status_code == 413
    elsewhere = await me.client.post("/api/v1/addresses", content=flood(2), headers=headers)
    assert elsewhere.status_code == 413
    assert [path.stat().st_size for path in files(bench)] == [50 << 20]


async def test_without_permission_there_is_no_import(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from elink_app.accounts.sessions import Sessions

    me = await master(bench)
    token = await me.token("/account")
    real = Sessions.use

    async def weaker(self: Sessions, secret: str) -> object:
        found = await real(self, secret)
        return found and replace(found, is_master=False, permissions=frozenset({"addresses:view", "addresses:edit"}))

    monkeypatch.setattr(Sessions, "use", weaker)
    assert (await me.get("/imports")).status_code == 403
    assert (await send(me, b"a,b", token=token)).status_code == 403
    assert 'href="/imports"' not in (await me.get("/addresses")).text
    assert files(bench) == []
