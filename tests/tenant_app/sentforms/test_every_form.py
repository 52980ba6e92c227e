"""Every form of the pages: pressed twice it does its work once, or a reason why it needs no key stands here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elink_app
import httpx
import pytest
from elink_app.sentforms.deps import sent
from elink_app.web.app import ROUTERS
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.tenant_app.people.support import actions, one
from tests.tenant_app.sentforms.test_sent_twice import form_key
from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

# Who sends the form twice ...
ENDS = "ends something: the second one finds nothing, or that it is over"
SETS = "says how a thing is to be: said twice it is the same, and there is no version that would have passed"
STATE = "is a step of a delivery: a second one is refused by its state, and a key would hide that it was undone since"
PROOF = "is proved by a link, a challenge, a code or a password, each of which works once or changes nothing"
LAST = "makes anew what there is one of: what the browser shows last counts"
LOOKS = "keeps nothing"
WITHOUT = {
    "/login": PROOF, "/login/second": PROOF, "/login/passkey": PROOF, "/login/second/passkey": PROOF,
    "/login/passkey/start": LAST, "/logout": ENDS, "/setup": PROOF, "/welcome": PROOF,
    # One mail in five minutes, whoever asks.
    "/login/forgotten": "is held back by a pause", "/language": SETS, "/unsubscribe/{token}": SETS,
    "/account/sessions/{session_id}/revoke": ENDS, "/account/sessions/revoke-others": ENDS,
    "/account/password": PROOF, "/account/tokens/{token_id}/revoke": ENDS,
    "/account/second-factor": PROOF, "/account/second-factor/codes": LAST, "/account/second-factor/remove": ENDS,
    "/account/passkeys/new": LAST, "/account/passkeys": PROOF, "/account/passkeys/{passkey_id}": SETS,
    "/account/passkeys/{passkey_id}/remove": ENDS,
    "/addresses/{address_id}/delete": ENDS, "/addresses/{address_id}/restore": ENDS,
    "/users/{user_id}": SETS, "/users/{user_id}/disable": SETS, "/users/{user_id}/enable": SETS,
    "/users/{user_id}/revoke-invitation": ENDS, "/users/{user_id}/force-password": SETS,
    "/users/{user_id}/remove-factor": ENDS, "/users/{user_id}/end-sessions": ENDS, "/users/{user_id}/delete": ENDS,
    "/users/{user_id}/sessions/{session_id}/revoke": ENDS,
    "/user-fields/{field_id}/delete": ENDS, "/user-fields/{field_id}/restore": ENDS,
    "/roles/{role_id}": SETS, "/roles/{role_id}/delete": ENDS,
    "/settings/security": SETS, "/settings/master": LAST, "/settings/master/accept": PROOF,
    "/settings/master/end": ENDS, "/notices/{notice_id}": SETS,
    "/deliveries/{delivery_id}/request": STATE, "/deliveries/{delivery_id}/approve": STATE,
    "/deliveries/{delivery_id}/reject": STATE, "/deliveries/{delivery_id}/release": STATE,
    "/deliveries/{delivery_id}/take-back": STATE, "/deliveries/{delivery_id}/pause": STATE,
    "/deliveries/{delivery_id}/cancel": STATE, "/deliveries/{delivery_id}/resume": STATE,
    "/deliveries/{delivery_id}/resend-unknown": STATE,
    "/deliveries/{delivery_id}/attachments/{sha256}/delete": ENDS,
    "/templates/images/{image_id}/delete": ENDS, "/templates/{template_id}/delete": ENDS,
    "/templates/preview/frame": LOOKS,
    "/settings/sender/addresses/{address_id}/delete": ENDS, "/settings/dkim/{key_id}/activate": SETS,
    "/settings/dkim/{key_id}/delete": ENDS,
    "/settings/attributes/{attribute_id}": SETS, "/settings/attributes/{attribute_id}/delete": ENDS,
    "/settings/attributes/{attribute_id}/restore": ENDS,
    "/jobs/{job_id}/cancel": SETS, "/suppressions": SETS, "/suppressions/{suppression_id}/lift": ENDS,
    "/segments/{segment_id}/delete": ENDS, "/tags/{tag_id}": SETS, "/tags/{tag_id}/delete": ENDS,
    "/tags/{tag_id}/label": SETS,
}  # fmt: skip
# They receive a file of any size before they look: both `receive` ask for the key themselves.
BY_ITSELF = {"/imports", "/deliveries/{delivery_id}/attachments"}
PRESSED = {
    "test_sent_twice": {
        "/addresses", "/tags", "/segments", "/templates", "/deliveries", "/roles", "/users", "/user-fields",
        "/settings/attributes", "/settings/sender/addresses", "/settings/dkim", "/exports", "/users/{user_id}/invite",
    },
    "deliveries.test_pages": {"/deliveries/{delivery_id}/test"},
    "deliveries.test_attachments": {"/deliveries/{delivery_id}/attachments"},
    "here": {
        "/addresses/{address_id}", "/templates/{template_id}", "/deliveries/{delivery_id}", "/segments/{segment_id}",
        "/settings/sender", "/account/tokens", "/templates/images", "/imports", "/imports/{file_id}",
        "/imports/{file_id}/run", "/jobs/{job_id}/undo", "/consents", "/duplicates/merge",
        "/duplicates/merges/{merge_id}/undo", "/utilities/{program}", "/utilities/runs/{run_id}/run",
        "/utilities/runs/{run_id}/undo",
    },
}  # fmt: skip


def posts() -> dict[str, APIRoute]:
    """What pages send forms to."""
    found = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return {one.path: one for one in found if "POST" in one.methods and not one.path.startswith("/api/")}


def _asked_for(what: Dependant) -> Iterator[Any]:
    yield what.call
    for part in what.dependencies:
        yield from _asked_for(part)


def test_each_has_the_key_or_a_reason() -> None:
    found = posts()
    guarded = BY_ITSELF | {path for path, route in found.items() if sent in set(_asked_for(route.dependant))}
    assert guarded.isdisjoint(WITHOUT)
    assert guarded | WITHOUT.keys() == found.keys()
    # A key that nobody has seen work is none.
    assert set().union(*PRESSED.values()) == guarded


def test_each_template_with_such_a_form_sends_a_key() -> None:
    guarded = {re.sub(r"{\w+}", "*", path) for path in posts() if path not in WITHOUT}
    seen = set()
    for page in sorted(Path(elink_app.__file__).parent.joinpath("web/templates").glob("*.html")):
        for form in re.findall(r"<form\b.*?</form>", page.read_text(), re.S):
            for action in _actions(form):
                if action in guarded:
                    seen.add(action)
                    assert "form_key()" in form, (page.name, action)
    assert seen == guarded


def _actions(form: str) -> set[str]:
    """Where a form may be sent to: `/a/{{ b.id }}/c`, or `{{ '/a/' ~ b.id if b else '/a' }}`."""
    head = re.match(r'<form\b[^>]*?method="post"[^>]*?action="((?:{{.*?}}|[^"])*)"', form)
    if head is None:
        return set()
    if head[1].startswith("{{ '"):
        return {path + ("*" if more else "") for path, more in re.findall(r"'([^']*)'( ~)?", head[1])}
    return {re.sub(r"{{.*?}}", "*", head[1])}


@dataclass
class Desk:
    """A master at work, and what he made."""

    world: World
    tenant: Any
    me: Browser
    ids: dict[str, int] = field(default_factory=dict)

    async def made(self, path: str, **body: Any) -> Any:
        answer = await self.me.api("POST", f"/api/v1{path}", json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def count(self, what: str) -> int:
        return int(await one(self.world, self.tenant, f"SELECT count(*) FROM {what}"))

    async def press(self, page: str, action: str, typed: dict[str, Any]) -> list[httpx.Response]:
        """Twice at once, then once more, with what stands in the form."""
        key = await form_key(self.me, page, action)
        sent = {**typed, "form_key": key}
        answers = await asyncio.gather(*(self.me.post(action, sent) for _ in range(2)))
        return [*answers, await self.me.post(action, sent)]


def assert_led_to_one_place(answers: list[httpx.Response]) -> str:
    assert {answer.status_code for answer in answers} == {303}, [answer.text for answer in answers]
    (where,) = {answer.headers["location"] for answer in answers}
    return where


@pytest.fixture
async def desk(world: World) -> Desk:
    tenant = await world.tenant()
    return Desk(world, tenant, await world.master(tenant))


@pytest.mark.postgres
async def test_what_is_saved_twice_is_no_conflict_with_oneself(desk: Desk) -> None:
    person = (await desk.made("/addresses", name="山田", emails=["a@x.jp"]))["id"]
    template = (await desk.made("/templates", name="案内", subject="件名", text_body="本文"))["id"]
    delivery = (await desk.made("/deliveries", name="四月号", category="notice"))["id"]
    tree = {"kind": "all", "of": [{"kind": "text", "field": "name", "op": "contains", "value": "山"}]}
    segment = (await desk.made("/segments", name="山の人", tree=tree))["id"]
    forms: dict[str, tuple[str, str, dict[str, Any]]] = {
        "address": (f"/addresses/{person}/edit", f"/addresses/{person}", {"name": "山田 花子", "version": "1"}),
        "template": (
            f"/templates/{template}", f"/templates/{template}",
            {"name": "ご案内", "subject": "件名", "text_body": "本文", "layout": "none", "source": "", "version": "1"},
        ),
        "delivery": (
            f"/deliveries/{delivery}/edit", f"/deliveries/{delivery}",
            {"name": "五月号", "category": "notice", "layout": "none", "version": "1"},
        ),
        "segment": (
            f"/segments/{segment}/edit", f"/segments/{segment}",
            {
                "name": "東京", "kind": "all", "level": "1", "what": "name", "op": "contains", "value": "山",
                "version": "1",
            },
        ),
    }  # fmt: skip
    for table, (page, action, typed) in forms.items():
        assert action in assert_led_to_one_place(await desk.press(page, action, typed))
        assert await one(desk.world, desk.tenant, f"SELECT max(version) FROM {table}") == 2, table
        # What somebody else wrote since is not lost to a page that was open before.
        other = {**typed, "name": "別の名", "form_key": await form_key(desk.me, page, action)}
        assert (await desk.me.post(action, other)).status_code == 409, table
    page = (await desk.me.get("/settings/sender")).text
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found
    typed = {"version": found[1], "hold_minutes": "7", "type_count_above": "10"}
    assert_led_to_one_place(await desk.press("/settings/sender", "/settings/sender", typed))


@pytest.mark.postgres
async def test_a_token_is_made_once_and_the_answer_shown_last_works(desk: Desk) -> None:
    typed = {"name": "基幹", "permissions": ["addresses:view"], "days": "30"}
    answers = await desk.press("/account/tokens", "/account/tokens", typed)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert await desk.count("api_token") == 1
    secrets = [re.findall(r"elk_[A-Za-z0-9_-]{43}", answer.text)[0] for answer in answers]
    program = desk.world.browser(desk.tenant.host)

    async def works(secret: str) -> bool:
        headers = {"Authorization": f"Bearer {secret}"}
        return (await program.get("/api/v1/addresses", headers=headers)).status_code == 200

    assert [await works(secret) for secret in secrets] == [False, False, True]
    assert (await actions(desk.world, desk.tenant)).count("token.renew") == 2


@pytest.mark.postgres
async def test_a_token_in_use_keeps_its_secret(desk: Desk) -> None:
    sent: dict[str, Any] = {"name": "基幹", "days": "30", "permissions": ["addresses:view"]}
    sent["form_key"] = await form_key(desk.me, "/account/tokens", "/account/tokens")
    secret = re.findall(r"elk_[A-Za-z0-9_-]{43}", (await desk.me.post("/account/tokens", sent)).text)[0]
    program, headers = desk.world.browser(desk.tenant.host), {"Authorization": f"Bearer {secret}"}
    assert (await program.get("/api/v1/addresses", headers=headers)).status_code == 200
    again = await desk.me.post("/account/tokens", sent)
    assert again.status_code == 303
    assert "elk_" not in (shown := (await desk.me.get(again.headers["location"])).text)
    assert "このフォームのトークンは" in shown
    assert (await program.get("/api/v1/addresses", headers=headers)).status_code == 200
    # Nor does one that was revoked come back.
    await desk.me.post(f"/account/tokens/{await one(desk.world, desk.tenant, 'SELECT id FROM api_token')}/revoke")
    assert (await desk.me.post("/account/tokens", sent)).status_code == 303
    assert await desk.count("api_token") == 0


@pytest.mark.postgres
async def test_a_consent_is_recorded_once(desk: Desk) -> None:
    # Longer in an address than what is remembered of one.
    email = "a" * 60 + "@" + ".".join(["b" * 60] * 3) + ".jp"
    typed = {"email": email, "kind": "given", "how": "名刺", "source": "展示会", "wording": "はい"}
    where = assert_led_to_one_place(await desk.press(f"/consents?email={email}", "/consents", typed))
    assert await desk.count("consent") == 1
    assert (await desk.me.get(where)).status_code == 200
    assert_led_to_one_place(await desk.press(f"/consents?email={email}", "/consents", typed))
    assert await desk.count("consent") == 2


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60


@pytest.mark.postgres
async def test_an_image_is_added_once_another_of_the_same_name_is_another(desk: Desk) -> None:
    token = await desk.me.token("/account")
    data = {"csrf_token": token, "form_key": await form_key(desk.me, "/templates", "/templates/images")}

    async def send(content: bytes) -> httpx.Response:
        files = {"image": ("logo.png", content, "image/png")}
        return await desk.me.client.post("/templates/images", data=data, files=files, headers=ORIGIN_HEADERS)

    assert_led_to_one_place([*await asyncio.gather(send(PNG), send(PNG)), await send(PNG)])
    assert await desk.count("image") == 1
    assert_led_to_one_place([await send(PNG + b"x")])
    assert await desk.count("image") == 2


@pytest.mark.postgres
async def test_a_file_comes_in_once_and_is_imported_once(desk: Desk) -> None:
    token = await desk.me.token("/account")
    data = {"csrf_token": token, "form_key": await form_key(desk.me, "/imports", "/imports")}

    async def send(content: bytes) -> httpx.Response:
        files = {"file": ("meibo.csv", content)}
        return await desk.me.client.post("/imports", data=data, files=files, headers=ORIGIN_HEADERS)

    rows = "氏名,メール\r\n山田,a@x.jp\r\n".encode()
    where = assert_led_to_one_place([*await asyncio.gather(send(rows), send(rows)), await send(rows)])
    assert await desk.count("import_file") == 1
    folder = desk.world.server.settings.tenants_dir
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    assert where != assert_led_to_one_place([await send(rows + "佐藤,b@x.jp\r\n".encode())])
    chosen = {"has_heading": "yes", "columns": ["name", "emails"], "action": "check"}
    job = assert_led_to_one_place(await desk.press(where, where, chosen))
    assert await desk.count("job WHERE kind = 'import-check'") == 1
    await one(desk.world, desk.tenant, "UPDATE job SET state = 'done', finished_at = now() RETURNING id")
    job = assert_led_to_one_place(await desk.press(job, f"{where}/run", {}))
    assert await desk.count("job WHERE kind = 'import'") == 1
    await one(desk.world, desk.tenant, "UPDATE job SET state = 'done', finished_at = now() RETURNING id")
    assert_led_to_one_place(await desk.press(job, f"{job}/undo", {}))
    assert await desk.count("job WHERE kind = 'import-undo'") == 1


@pytest.mark.postgres
async def test_a_program_is_tried_run_and_undone_once(desk: Desk) -> None:
    await desk.made("/addresses", name="山田")
    typed = {"field": "company", "value": "さくら"}
    where = assert_led_to_one_place(await desk.press("/utilities", "/utilities/edit", typed))
    assert await desk.count("utility_run") == 1
    assert_led_to_one_place(await desk.press(where, f"{where}/run", {"count": "1"}))
    assert await desk.count("job") == 1
    await one(desk.world, desk.tenant, "UPDATE job SET state = 'done', finished_at = now() RETURNING id")
    assert_led_to_one_place(await desk.press(where, f"{where}/undo", {}))
    assert await desk.count("job WHERE kind = 'utility-undo'") == 1


@pytest.mark.postgres
async def test_addresses_are_merged_and_parted_once(desk: Desk) -> None:
    first, second = [(await desk.made("/addresses", name="山田", emails=["a@x.jp"]))["id"] for _ in range(2)]
    typed = {"id": [first, second], "keep": first, f"version-{first}": "1", f"version-{second}": "1"}
    page = f"/duplicates/merge?id={first}&id={second}"
    where = assert_led_to_one_place(await desk.press(page, "/duplicates/merge", typed))
    number = where.rpartition("=")[2]
    assert_led_to_one_place(await desk.press(where, f"/duplicates/merges/{number}/undo", {}))
    assert await desk.count("address WHERE deleted_at IS NULL") == 2
