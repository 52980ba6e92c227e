"""Users: invited, stopped, removed; and what nobody can do to others or for himself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from elink_app.registry.wakeups import Wakeups
from elink_operator.database.model import TenantDb

from tests.tenant_app.people.support import accept, actions, invite, link_for, make_role, member, one, run
from tests.tenant_app.support import ORIGIN_HEADERS, PASSWORD, World

pytestmark = pytest.mark.postgres

AYA = "aya@user.example"
OFFICE = {"key": "office", "label": "勤務地", "kind": "text"}


async def test_an_invitation_works_once(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user_id = await invite(master, AYA)
    assert (await master.get(f"/api/v1/users/{user_id}")).json()["status"] == "invited"
    token = await link_for(world, tenant, AYA)
    # Only the hash is kept, and looking uses nothing up.
    assert await one(world, tenant, "SELECT count(*) FROM account_link WHERE token_sha256 = sha256($1)", token.encode())
    for _ in range(2):
        assert AYA in (await world.browser(tenant.host).get(f"/welcome?token={token}")).text
    browser, status = await accept(world, tenant, token)
    assert status == 303
    session = (await browser.get("/api/v1/session")).json()
    assert (session["email"], session["is_master"], session["permissions"]) == (AYA, False, [])
    assert (await accept(world, tenant, token))[1] == 410
    assert (await world.browser(tenant.host).get(f"/welcome?token={token}")).status_code == 410
    assert (await actions(world, tenant))[-3:] == ["user.invite", "account.accept_invitation", "account.log_in"]


async def test_many_at_once_with_one_invitation(world: World) -> None:
    tenant = await world.tenant()
    await invite(await world.master(tenant), AYA)
    token = await link_for(world, tenant, AYA)
    answers = await asyncio.gather(*(accept(world, tenant, token) for _ in range(6)))
    assert sorted(status for _, status in answers) == [303] + [410] * 5
    assert await one(world, tenant, "SELECT count(*) FROM session s JOIN account a ON a.id = s.account_id "
                                    "WHERE NOT a.is_master") == 1  # fmt: skip


async def test_again_revoked_expired(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user_id = await invite(master, AYA)
    first = await link_for(world, tenant, AYA)
    assert (await master.api("POST", f"/api/v1/users/{user_id}/invite")).status_code == 200
    second = await link_for(world, tenant, AYA)
    assert first != second
    assert (await accept(world, tenant, first))[1] == 410
    assert (await master.api("DELETE", f"/api/v1/users/{user_id}/invite")).status_code == 200
    assert (await accept(world, tenant, second))[1] == 410
    assert (await master.api("DELETE", f"/api/v1/users/{user_id}/invite")).status_code == 404
    await master.api("POST", f"/api/v1/users/{user_id}/invite")
    hours = await one(
        world, tenant, "SELECT extract(epoch FROM expires_at - created_at)::float8 / 3600 FROM account_link"
    )
    assert hours == 72
    await run(world, tenant, "UPDATE account_link SET expires_at = now() - interval '1 second'")
    assert (await accept(world, tenant, await link_for(world, tenant, AYA)))[1] == 410
    await master.api("POST", f"/api/v1/users/{user_id}/invite")
    assert (await accept(world, tenant, await link_for(world, tenant, AYA)))[1] == 303
    assert (await master.api("POST", f"/api/v1/users/{user_id}/invite")).status_code == 404


async def test_nobody_logs_in_before_a_password_is_chosen(world: World) -> None:
    tenant = await world.tenant()
    await invite(await world.master(tenant), AYA)
    for guess in ("", "nobody has this password", "None"):
        answer = await world.browser(tenant.host).post("/login", {"email": AYA, "password": guess})
        assert answer.status_code == 401


async def test_stopped_and_deleted_users_are_out_at_once(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, email = await member(world, tenant, master, "addresses:view")
    made = await browser.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": ["addresses:view"]})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    program = world.browser(tenant.host)

    async def inside() -> list[int]:
        answers = [await browser.get("/api/v1/addresses"), await program.get("/api/v1/addresses", headers=headers)]
        return [answer.status_code for answer in answers]

    assert await inside() == [200, 200]
    assert (await master.api("POST", f"/api/v1/users/{user_id}/disable")).json()["status"] == "disabled"
    assert await inside() == [401, 401]
    assert (await world.browser(tenant.host).post("/login", {"email": email, "password": PASSWORD})).status_code == 401
    assert (await master.api("POST", f"/api/v1/users/{user_id}/enable")).json()["status"] == "active"
    # What had ended does not come back.
    assert await inside() == [401, 401]
    again = await browser.post("/login", {"email": email, "password": PASSWORD}, page="/login")
    assert again.status_code == 303
    assert await inside() == [200, 401]
    assert (await master.api("DELETE", f"/api/v1/users/{user_id}")).status_code == 204
    assert await inside() == [401, 401]
    assert (await master.get(f"/api/v1/users/{user_id}")).status_code == 404
    said = await actions(world, tenant)
    assert [action for action in said if action.startswith("user.")] == [
        "user.invite", "user.disable", "user.enable", "user.delete",
    ]  # fmt: skip


async def test_nobody_touches_the_master_or_himself(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    manager, manager_id, _ = await member(world, tenant, master, "users:manage")
    master_id = await one(world, tenant, "SELECT id FROM account WHERE is_master")
    for browser, target in ((manager, master_id), (manager, manager_id), (master, master_id)):
        for method, path in (
            ("DELETE", ""), ("POST", "/disable"), ("POST", "/enable"), ("POST", "/invite"), ("DELETE", "/invite"),
            ("DELETE", "/sessions"),
        ):  # fmt: skip
            answer = await browser.api(method, f"/api/v1/users/{target}{path}")
            assert answer.status_code == 403, (method, path)
        for path in ("delete", "disable", "force-password", "remove-factor", "end-sessions", "sessions/1/revoke"):
            assert (await browser.post(f"/users/{target}/{path}")).status_code == 403, path
    answer = await manager.api("PUT", f"/api/v1/users/{master_id}", json={"display_name": "x"})
    assert answer.status_code == 403
    assert await one(world, tenant, "SELECT count(*) FROM account WHERE disabled_at IS NULL") == 2
    # The sessions of the master are not shown either.
    assert "203.0.113.7" not in (await manager.get(f"/users/{master_id}")).text


async def test_no_one_acts_on_somebody_who_may_more(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    manager, _, _ = await member(world, tenant, master, "users:manage", "addresses:view")
    _, mightier, _ = await member(world, tenant, master, "addresses:view", "audit:view")
    _, equal, _ = await member(world, tenant, master, "addresses:view")
    assert (await manager.api("POST", f"/api/v1/users/{mightier}/disable")).status_code == 403
    assert (await manager.api("POST", f"/api/v1/users/{equal}/disable")).status_code == 200


async def test_no_one_raises_himself(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    all_of_it = await make_role(master, "utilities:run", "users:manage", "settings:manage", "audit:view")
    harmless = await make_role(master, "addresses:view")
    manager, manager_id, _ = await member(world, tenant, master, "users:manage", "addresses:view")
    own = (await manager.get(f"/api/v1/users/{manager_id}")).json()["roles"]
    for roles in ([*own, all_of_it], [*own, harmless], [all_of_it]):
        assert (await manager.api("PUT", f"/api/v1/users/{manager_id}", json={"roles": roles})).status_code == 403
        form = {"display_name": "x", "roles": [str(role) for role in roles]}
        assert (await manager.post(f"/users/{manager_id}", form)).status_code == 403
        # By way of somebody else neither.
        body = {"email": "ally@user.example", "roles": roles}
        assert (await manager.api("POST", "/api/v1/users", json=body)).status_code == 403
    assert await one(world, tenant, "SELECT count(*) FROM account WHERE email = 'ally@user.example'") == 0
    # Fields that the form does not have change nothing; the API refuses them.
    extra = {"display_name": "x", "is_master": "true", "permissions": "utilities:run", "email": "other@user.example",
             "password_hash": "x", "totp_secret": "", "roles": [str(role) for role in own]}  # fmt: skip
    assert (await manager.post(f"/users/{manager_id}", extra)).status_code == 303
    session = (await manager.get("/api/v1/session")).json()
    assert (session["is_master"], session["permissions"]) == (False, ["addresses:view", "users:manage"])
    for key in ("is_master", "permissions", "password_hash", "email"):
        answer = await manager.api("PUT", f"/api/v1/users/{manager_id}", json={"roles": own, key: "true"})
        assert answer.status_code == 422, key
    # What he holds himself he may hand on.
    assert (
        await manager.api("POST", "/api/v1/users", json={"email": "ally@user.example", "roles": own})
    ).status_code == 201


async def test_without_the_permission_there_is_nothing(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "addresses:view")
    assert 'href="/users"' not in (await browser.get("/")).text
    for path in ("/users", "/users/new", f"/users/{user_id}", "/roles", "/roles/new", "/user-fields", "/audit",
                 "/audit.csv", "/settings/security", "/api/v1/users", "/api/v1/roles", "/api/v1/user-fields",
                 "/api/v1/audit", f"/api/v1/users/{user_id}"):  # fmt: skip
        assert (await browser.get(path)).status_code == 403, path
    assert (await browser.get("/settings/master")).status_code == 404
    assert (await browser.post("/users", {"email": "x@user.example"})).status_code == 403
    stranger = world.browser(tenant.host)
    assert (await stranger.get("/api/v1/users")).status_code == 401


async def test_ids_of_another_tenant_are_unknown(world: World) -> None:
    here, there = await world.tenant(), await world.tenant()
    me, other = await world.master(here), await world.master(there)
    for number in range(4):
        await invite(other, f"user{number}@user.example")
    foreign = await one(world, there, "SELECT max(id) FROM account")
    await other.api("POST", "/api/v1/tokens", json={"name": "x", "permissions": []})
    token_id, session_id = [
        await one(world, there, f"SELECT max(id) FROM {table}") for table in ("api_token", "session")
    ]
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/disable"), ("POST", "/invite"), ("DELETE", "/sessions"),
    ):  # fmt: skip
        assert (await me.api(method, f"/api/v1/users/{foreign}{path}")).status_code == 404
    assert (await me.api("DELETE", f"/api/v1/tokens/{token_id}")).status_code == 404
    assert (await me.post(f"/users/{foreign}/sessions/{session_id}/revoke")).status_code == 404
    # A link of the other tenant is nothing here.
    assert (await accept(world, here, await link_for(world, there, "user0@user.example")))[1] == 410
    assert await one(world, there, "SELECT count(*) FROM account WHERE disabled_at IS NULL") == 5


@pytest.mark.parametrize(
    "body",
    [
        {"email": "a@user.example\r\nBcc: x@evil.example"},
        {"email": "not an address"},
        {"email": "a@user.example", "display_name": "x\r\ny"},
        {"email": "a@user.example", "display_name": "x" * 101},
        {"email": "a@user.example", "roles": [999999]},
        {"email": "a@user.example", "roles": [-1]},
        {"email": "a@user.example", "attributes": {"unknown": "x"}},
        {"email": "a@user.example", "attributes": {"x" * 9: {"deep": 1}}},
        {},
    ],
)
async def test_refused_input(world: World, body: dict[str, object]) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    assert (await master.api("POST", "/api/v1/users", json=body)).status_code == 422
    assert await one(world, tenant, "SELECT count(*) FROM account") == 1
    assert await one(world, tenant, "SELECT count(*) FROM outbox_mail") == 0


async def test_one_user_per_address(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    await invite(master, AYA)
    for email in (AYA.upper(), tenant.master_email):
        answer = await master.api("POST", "/api/v1/users", json={"email": email})
        assert answer.json()["errors"][0]["code"] == "email_taken"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("users", {"email": "a@user.example"}),
        ("roles", {"name": "営業"}),
        ("user-fields", {"key": "k", "label": "k", "kind": "text"}),
        ("attributes", {"key": "k", "label": "k", "type": "text"}),
    ],
)
async def test_a_button_that_is_pressed_twice_makes_one(world: World, path: str, body: dict[str, object]) -> None:
    me = await world.master(await world.tenant())
    token = (await me.get("/api/v1/session")).json()["csrf_token"]
    made = await asyncio.gather(*(me.api("POST", f"/api/v1/{path}", token=token, json=body) for _ in range(3)))
    assert sorted(answer.status_code for answer in made) == [201, 422, 422]


async def test_values_are_escaped(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    body = {"email": AYA, "display_name": "<script>alert(1)</script>"}
    user_id = (await master.api("POST", "/api/v1/users", json=body)).json()["id"]
    for path in ("/users", f"/users/{user_id}", f"/users/{user_id}/edit", "/audit"):
        page = (await master.get(path)).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


async def test_own_fields(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    fields = [
        {"key": "office", "label": "勤務地", "kind": "choice", "choices": ["東京", "大阪"], "required": True},
        {"key": "extension", "label": "内線", "kind": "number"},
        {"key": "joined", "label": "入社日", "kind": "date"},
        {"key": "driver", "label": "運転免許", "kind": "yes_no"},
        {"key": "note", "label": "備考", "kind": "text"},
    ]
    for field in fields:
        assert (await master.api("POST", "/api/v1/user-fields", json=field)).status_code == 201
    for wrong in (
        {"key": "office", "label": "x", "kind": "text"}, {"key": "Bad Key", "label": "x", "kind": "text"},
        {"key": "x", "label": "x", "kind": "choice"}, {"key": "y", "label": "x", "kind": "money"},
    ):  # fmt: skip
        assert (await master.api("POST", "/api/v1/user-fields", json=wrong)).status_code == 422, wrong
    good = {"office": "東京", "extension": "12.50", "joined": "2026-04-01", "driver": False, "note": "メモ"}
    made = await master.api("POST", "/api/v1/users", json={"email": AYA, "attributes": good})
    assert made.json()["attributes"] == good
    user_id = made.json()["id"]
    for change in (
        {"office": None}, {"office": "京都"}, {"extension": "many"}, {"extension": "NaN"}, {"extension": "1e99"},
        {"joined": "2026-02-30"}, {"driver": "perhaps"}, {"note": "x" * 501},
    ):  # fmt: skip
        answer = await master.api("PUT", f"/api/v1/users/{user_id}", json={"attributes": {**good, **change}})
        assert answer.status_code == 422, change
        assert answer.json()["errors"][0]["pointer"] == f"/attributes/{next(iter(change))}"
    # The form has the same rules and keeps what was typed.
    form = {"display_name": "綾", **{f"attributes-{key}": str(value) for key, value in good.items()}}
    refused = await master.post(f"/users/{user_id}", {**form, "attributes-extension": "many", "attributes-driver": ""})
    assert refused.status_code == 422
    assert 'value="many"' in refused.text
    assert (await master.post(f"/users/{user_id}", {**form, "attributes-driver": "yes"})).status_code == 303
    assert (await master.get(f"/api/v1/users/{user_id}")).json()["attributes"] == {**good, "driver": True}
    note = next(f for f in (await master.get("/api/v1/user-fields")).json()["items"] if f["key"] == "note")
    assert (await master.api("DELETE", f"/api/v1/user-fields/{note['id']}")).status_code == 204
    assert "note" not in (await master.get(f"/api/v1/users/{user_id}")).json()["attributes"]
    office = next(f for f in (await master.get("/api/v1/user-fields")).json()["items"] if f["key"] == "office")
    await master.api("DELETE", f"/api/v1/user-fields/{office['id']}")
    manager, _, _ = await member(world, tenant, master, "users:manage")
    assert (await manager.api("POST", "/api/v1/user-fields", json=fields[1])).status_code == 403


@asynccontextmanager
async def log_held(world: World, tenant: TenantDb) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Whoever wants to write into the audit log waits until the end; gives a wait for so many that wait."""
    async with world.server.inside(tenant.database) as holder, holder.transaction():
        await holder.execute("SELECT FROM audit_head FOR UPDATE")

        async def waiting(count: int) -> None:
            sql = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(60):
                while await holder.fetchval(sql) < count:  # noqa: ASYNC110 - of the server, which signals nothing
                    await asyncio.sleep(0.02)

        yield waiting


async def test_what_is_saved_while_its_field_is_deleted_goes_with_the_field(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user_id = await invite(master, AYA)
    field = (await master.api("POST", "/api/v1/user-fields", json=OFFICE)).json()["id"]
    body = {"roles": [], "attributes": {"office": "大阪"}}
    async with log_held(world, tenant) as waiting:
        saving = asyncio.create_task(master.api("PUT", f"/api/v1/users/{user_id}", json=body))
        await waiting(1)
        deleting = asyncio.create_task(master.api("DELETE", f"/api/v1/user-fields/{field}"))
        await waiting(2)
    assert [(await saving).status_code, (await deleting).status_code] == [200, 204]
    assert await one(world, tenant, "SELECT attributes FROM account WHERE id = $1", user_id) == "{}"
    assert (await master.api("POST", f"/api/v1/user-fields/{field}/restore")).status_code == 200
    assert (await master.get(f"/api/v1/users/{user_id}")).json()["attributes"] == {"office": "大阪"}
    # The other way round the value is refused.
    async with log_held(world, tenant) as waiting:
        deleting = asyncio.create_task(master.api("DELETE", f"/api/v1/user-fields/{field}"))
        await waiting(1)
        saving = asyncio.create_task(master.api("PUT", f"/api/v1/users/{user_id}", json=body))
        await waiting(2)
    assert [(await saving).status_code, (await deleting).status_code] == [422, 204]
    assert await one(world, tenant, "SELECT attributes FROM account WHERE id = $1", user_id) == "{}"


async def test_a_user_is_removed_while_a_field_comes_back(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    user_id = await invite(master, AYA)
    field = (await master.api("POST", "/api/v1/user-fields", json=OFFICE)).json()["id"]
    await master.api("PUT", f"/api/v1/users/{user_id}", json={"roles": [], "attributes": {"office": "大阪"}})
    await master.api("DELETE", f"/api/v1/user-fields/{field}")
    async with log_held(world, tenant) as waiting:
        removing = asyncio.create_task(master.api("DELETE", f"/api/v1/users/{user_id}"))
        await waiting(1)
        restoring = asyncio.create_task(master.api("POST", f"/api/v1/user-fields/{field}/restore"))
        await waiting(2)
    assert [(await removing).status_code, (await restoring).status_code] == [204, 200]


async def test_the_worker_is_woken_when_the_invitation_can_be_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    seen: list[tuple[str, int]] = []

    async def wake(_self: Wakeups, name: str, _due: datetime | None = None) -> None:
        seen.append((name, await one(world, tenant, "SELECT count(*) FROM outbox_mail")))

    monkeypatch.setattr(Wakeups, "wake", wake)
    user_id = await invite(master, AYA)
    await master.api("POST", f"/api/v1/users/{user_id}/invite")
    await master.post("/users", {"email": "ken@user.example"})
    await master.post(f"/users/{user_id}/invite")
    assert seen == [(tenant.name, count) for count in (1, 2, 3, 4)]


async def test_a_new_password_is_demanded(world: World) -> None:
    tenant = await world.tenant()
    master = await world.master(tenant)
    browser, user_id, _ = await member(world, tenant, master, "addresses:view")
    assert (await master.post(f"/users/{user_id}/force-password")).status_code == 303
    answer = await browser.get("/addresses")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?notice=password-due")
    refused = await browser.get("/api/v1/addresses")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "account-action-required")
    # No token either, which would still be there when the password is another one.
    answer = await browser.post("/account/tokens", {"name": "x", "permissions": "addresses:view", "days": "90"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?notice=password-due")
    assert await one(world, tenant, "SELECT count(*) FROM api_token") == 0
    form = {"current_password": PASSWORD, "password": PASSWORD, "password_repeated": PASSWORD}
    again = await browser.post("/account/password", form)
    assert again.status_code == 422
    assert "以前に使った" in again.text
    new = "another long password 9"
    assert (
        await browser.post("/account/password", {**form, "password": new, "password_repeated": new})
    ).status_code == 303
    assert (await browser.get("/addresses")).status_code == 200


async def test_the_last_five_passwords_are_refused(world: World) -> None:
    tenant = await world.tenant()
    browser = await world.master(tenant)
    now = PASSWORD

    async def change(new: str) -> int:
        nonlocal now
        form = {"current_password": now, "password": new, "password_repeated": new}
        answer = await browser.post("/account/password", form)
        now = new if answer.status_code == 303 else now
        return answer.status_code

    used = [f"correct horse number {number}" for number in range(4)]
    assert [await change(new) for new in used] == [303] * 4
    assert [await change(new) for new in (PASSWORD, *used)] == [422] * 5
    assert await change("correct horse number 5") == 303
    # Now the first is the sixth.
    assert await change(PASSWORD) == 303
    assert await one(world, tenant, "SELECT count(*) FROM old_password") == 4


async def test_changing_the_password_does_not_wait_for_itself(world: World) -> None:
    """The request notes the use of the very session that it ends."""
    tenant = await world.tenant()
    browser = await world.master(tenant)
    await run(world, tenant, "UPDATE session SET last_seen_at = now() - interval '5 minutes'")
    token = await browser.token("/account")
    await run(world, tenant, "UPDATE session SET last_seen_at = now() - interval '5 minutes'")
    new = "another long password 9"
    form = {"csrf_token": token, "current_password": PASSWORD, "password": new, "password_repeated": new}
    answer = await browser.client.post("/account/password", data=form, headers=ORIGIN_HEADERS)
    assert answer.status_code == 303
