"""The audit log as people read it: search, pages, export, and the command that proves it."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import sys
from pathlib import Path

import elink_app
import orjson
import pytest
from elink_app.audit.names import ACTIONS
from elink_operator.database import TenantDb

from tests.tenant_app.people.support import invite, make_role, member, run
from tests.tenant_app.support import Browser, Server, World

pytestmark = pytest.mark.postgres


async def lines(browser: Browser, **query: object) -> list[str]:
    answer = await browser.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return [line["action"] for line in answer.json()["items"]]


async def test_search(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await make_role(master, "addresses:view", name="営業100%")
    await invite(master, "Aya_Sato@user.example")
    reader, _, email = await member(world, tenant, master, "audit:view")
    assert await lines(reader, q="営業100%") == ["role.create"]
    assert await lines(reader, q="aya_sato@USER") == ["user.invite"]
    assert await lines(reader, q="ayaxsato") == []
    assert set(await lines(reader, action="user")) == {"user.invite"}
    assert await lines(reader, actor=email) == ["account.log_in", "account.accept_invitation"]
    assert await lines(reader, q="%") == ["role.create"]
    assert await lines(reader, since="2100-01-01") == []
    assert await lines(reader, until="2000-01-01") == []
    assert len(await lines(reader, since="2000-01-01", until="9999-12-31")) == len(await lines(reader))
    # Midnight of that day in Japan is before the first moment that there is.
    assert len(await lines(reader, since="0001-01-01")) == len(await lines(reader))
    assert (await reader.get("/audit?since=0001-01-01")).status_code == 200
    for wrong in ({"since": "soon"}, {"below": 0}, {"size": 1000}, {"q": "x" * 201}):
        assert (await reader.get("/api/v1/audit", params=wrong)).status_code == 422
    page = (await reader.get("/audit?q=aya_sato&since=nonsense")).text
    assert "user.invite" in page
    assert '<option value="user.invite">ユーザーの招待</option>' in page
    assert "ユーザーの招待" in page.partition("<tbody>")[2]
    assert "role.create" not in page.partition("<tbody>")[2]


def test_every_action_has_a_name() -> None:
    """Also the one that is added next: words of the source that look like an action of a kind that is known."""
    source = "".join(file.read_text("utf-8") for file in Path(elink_app.__file__).parent.rglob("*.py"))
    kinds = {action.partition(".")[0] for action in ACTIONS}
    found = {f"{kind}.{verb}" for kind, verb in re.findall(r'"([a-z_]+)\.([a-z_-]+)"', source) if kind in kinds}
    found = {action for action in found if not action.endswith((".id", ".html", ".csv"))}
    assert len(found) > 70
    assert sorted(found - set(ACTIONS)) == []


async def test_pages_by_key(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    for number in range(5):
        await make_role(master, name=f"役割 {number}")
    seen: list[int] = []
    below = None
    while True:
        query = {"size": 2, **({"below": below} if below else {})}
        body = (await master.get("/api/v1/audit", params=query)).json()
        seen += [line["number"] for line in body["items"]]
        # A line that comes meanwhile shifts nothing.
        await make_role(master)
        below = body["next"]
        if below is None:
            break
    assert seen == list(range(7, 0, -1))


async def test_export(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await run(
        world, tenant,
        "INSERT INTO audit_entry (number, at, actor, address, action, kind, key, hash) "
        "SELECT 1000 + n, now(), t, '', 'x', '', '', '' "
        "FROM unnest(ARRAY['=1+1', '+1', '-1', '@x', E'\\t=1', '＝1']) WITH ORDINALITY AS u (t, n)",
    )  # fmt: skip
    answer = await master.get("/audit.csv?action=x")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["actor"] for row in rows] == ["'＝1", "'\t=1", "'@x", "'-1", "'+1", "'=1+1"]
    assert await lines(master, action="audit") == ["audit.export"]


async def verify(server: Server, *more: str) -> tuple[int, list[dict[str, object]]]:
    settings = server.settings
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ELINK_DB_HOST": settings.db_host,
        "ELINK_DB_PORT": str(settings.db_port),
        "ELINK_DB_PASSWORD_FILE": str(settings.db_password_file),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "elink_app", "audit", "verify", *more, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    found = [orjson.loads(line) for line in output.splitlines()]
    return process.returncode or 0, [line for line in found if "tenant" in line]


async def test_the_command_finds_the_first_broken_line(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    for _ in range(3):
        await make_role(master)
    code, found = await verify(world.server, "--tenant", tenant.name)
    assert (code, found) == (0, [{"tenant": tenant.name, "lines": 5, "broken_at": None, "why": ""}])
    await run(world, tenant, "UPDATE audit_entry SET actor = 'somebody else' WHERE number IN (3, 4)")
    code, found = await verify(world.server, "--tenant", tenant.name)
    assert (code, found[0]["broken_at"]) == (1, 3)
    code, found = await verify(world.server, "--tenant", "no-such-tenant")
    assert (code, found) == (1, [])


HIDDEN = ("買収", "secret@x", "gone@x", "旧案件", "47113", "48151", "192.0.2.77", "長い")


async def made(browser: Browser, path: str, **body: object) -> int:
    answer = await browser.api("POST", f"/api/v1/{path}", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json().get("id", 0))


async def told(browser: Browser, **query: object) -> list[dict[str, object]]:
    answer = await browser.get("/api/v1/audit", params={"size": 200, **query})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["items"]
    return found


async def label_something(world: World, tenant: TenantDb, master: Browser) -> tuple[int, int]:
    """Lines about what labels hide, present and gone: returns the one address that everybody sees, and the label."""
    open_one = await made(master, "addresses", name="公開", emails=["open@x.example"], tags=["普通"])
    await made(master, "addresses", name="秘密", emails=["secret@x.example"], tags=["買収案件"])
    gone = await made(master, "addresses", name="消去済", emails=["gone@x.example"], tags=["買収案件"])
    for email in ("open@x.example", "secret@x.example", "gone@x.example"):
        await made(master, f"consents/{email}", kind="given", how="名刺", source=f"名刺 {email}", wording="同意します")
        await made(master, "suppressions", email=email, detail=f"申出 {email}")
    tags = {tag["name"]: tag["id"] for tag in (await master.get("/api/v1/tags")).json()}
    trees = {name: {"kind": "all", "of": [{"kind": "tag", "tag_id": tags[name]}]} for name in tags}
    await made(master, "segments", name="普通の人", tree=trees["普通"])
    await made(master, "segments", name="買収先", tree=trees["買収案件"])
    assert (await master.api("DELETE", f"/api/v1/addresses/{gone}")).status_code == 204
    for name, at in (("買収案件", 1), ("旧案件", 2)):
        if at == 2:
            await made(master, "tags", name=name)
            tags = {tag["name"]: tag["id"] for tag in (await master.get("/api/v1/tags")).json()}
        answer = await master.api("PUT", f"/api/v1/tags/{tags[name]}/label", json={"is_label": True})
        assert answer.status_code == 200
    assert (await master.api("PUT", f"/api/v1/tags/{tags['旧案件']}", json={"name": "旧案件改"})).status_code == 200
    assert (await master.api("DELETE", f"/api/v1/tags/{tags['旧案件']}")).status_code == 204
    await run(world, tenant, "DELETE FROM address WHERE name = '消去済'")
    return open_one, tags["買収案件"]


async def work_in_bulk(world: World, tenant: TenantDb) -> None:
    """Lines of others whose details tell of hidden addresses."""
    for kind, key, action, after in (
        ("delivery", "1", "delivery.released", {"name": "春の案内", "recipients": 47113}),
        ("delivery", "1", "optout.all", {"how": "page", "mails_skipped": 1}),
        ("job", "1", "addresses.imported", {"new": 48151}),
        ("utility", "1", "utility.run", {"target": {"q": "買収案件"}, "count": 48151}),
        ("address", "not a number", "address.update", {}),
        ("address", "9" * 40, "address.update", {}),
        ("email", "x" * 100, "consent.given", {"source": "長い"}),
    ):
        await run(
            world, tenant,
            "INSERT INTO audit_entry (number, at, actor, address, action, kind, key, after, hash) "
            "SELECT 1000 + max(number), now(), 'clerk', "
            "CASE $1 WHEN 'optout.all' THEN '192.0.2.77' ELSE '' END, $1, $2, $3, $4::jsonb, '' FROM audit_entry",
            action, kind, key, orjson.dumps(after).decode(),
        )  # fmt: skip


async def test_what_labels_hide_shows_in_no_line(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    reader, _, _ = await member(world, tenant, master, "audit:view", "addresses:view", "addresses:edit")
    open_one, _ = await label_something(world, tenant, master)
    await work_in_bulk(world, tenant)
    everything = orjson.dumps(await told(master)).decode()
    assert [word for word in HIDDEN if word not in everything] == []
    for text in (
        orjson.dumps(await told(reader)).decode(),
        (await reader.get("/audit.csv")).text,
        (await reader.get("/audit")).text,
    ):
        assert [word for word in HIDDEN if word in text] == []
        for word in ("open@x.example", "普通の人", "春の案内"):
            assert word in text
    for word in (*HIDDEN, "recipients", "mails_skipped"):
        assert await told(reader, q=word) == [], word
        assert await told(master, q=word) != [], word
    assert [line["key"] for line in await told(reader) if line["kind"] == "address"] == [str(open_one)]
    assert [line["after"] for line in await told(reader, action="delivery")] == [{"name": "春の案内"}]
    assert [line["after"] for line in await told(reader, action="addresses")] == [None]
    assert await told(reader, action="optout") == []
    # A hash would prove a guess at the line before it.
    assert {line["hash"] for line in await told(reader)} == {None}
    body = (await reader.get("/api/v1/audit", params={"size": 1})).json()
    assert body["complete"] is False
    assert "省かれています" in (await reader.get("/audit")).text
    assert (await master.get("/api/v1/audit", params={"size": 1})).json()["complete"] is True
    assert "省かれています" not in (await master.get("/audit")).text


async def test_an_account_reads_its_own_lines_and_what_its_roles_open(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    reader, number, _ = await member(world, tenant, master, "audit:view", "addresses:view", "addresses:edit")
    _, label = await label_something(world, tenant, master)
    await work_in_bulk(world, tenant)
    # What the account itself recorded it reads, whoever bears the e-mail.
    for email in ("secret@x.example", "nobody@x.example"):
        await reader.api("POST", f"/api/v1/consents/{email}", json={"kind": "withdrawn", "how": "電話"})
    assert {line["key"] for line in await told(reader, q="電話")} == {"secret@x.example", "nobody@x.example"}
    # With the right to see, everything is there; a file needs the right to export.
    await run(
        world, tenant,
        "INSERT INTO label_right (tag_id, role_id, action) "
        "SELECT $1, role_id, 'see' FROM account_role WHERE account_id = $2",
        label, number,
    )  # fmt: skip
    assert len(await told(reader)) == len(await told(master))
    assert all(line["hash"] is not None for line in await told(reader))
    exported = (await reader.get("/audit.csv")).text
    assert "open@x.example" in exported
    assert [email for email in ("gone@x", "名刺 secret@x") if email in exported] == []
    await run(
        world, tenant, "INSERT INTO label_right SELECT tag_id, role_id, 'export' FROM label_right WHERE action = 'see'"
    )
    assert "名刺 secret@x" in (await reader.get("/audit.csv")).text
