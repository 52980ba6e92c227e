"""The audit log as people read it: search, pages, export, and the command that proves it."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys

import orjson
import pytest

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
    for wrong in ({"since": "soon"}, {"below": 0}, {"size": 1000}, {"q": "x" * 201}):
        assert (await reader.get("/api/v1/audit", params=wrong)).status_code == 422
    page = (await reader.get("/audit?q=aya_sato&since=nonsense")).text
    assert "user.invite" in page
    assert "role.create" not in page.partition("<tbody>")[2]


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
