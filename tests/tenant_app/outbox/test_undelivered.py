"""Single mails that were given up are shown to whoever looks at the user: what, why and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.controller import Controller
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.outbox.results import Reason, reason_of
from elink_app.outbox.sender import OutboxSender, _words
from elink_operator.database.model import TenantDb

from tests.support.ports import free_port
from tests.tenant_app.people.support import invite, member, one, run
from tests.tenant_app.support import PASSWORD, World

AYA = "aya@user.example"
NOBODY = "550 5.1.1 <script>alert(1)</script> no such user"


@dataclass
class Choosy:
    """A real SMTP server that says this about every recipient."""

    answer: str

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:
        return "250 kept"


async def send(world: World, tenant: TenantDb, answer: str) -> None:
    """The worker's look at the outbox, with a relay that says `answer`."""
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    port = free_port()
    controller = Controller(Choosy(answer), hostname="127.0.0.1", port=port, ready_timeout=60)
    controller.start()
    try:
        settings = world.server.settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": port})
        await OutboxSender(settings, world.parts.databases, utc_now).run(known, Stop())
    finally:
        controller.stop()


@pytest.mark.postgres
async def test_a_refused_invitation_is_seen_by_who_invited_until_another_one_is_written(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    await me.post("/users", {"email": AYA})
    user_id = await one(world, tenant, "SELECT id FROM account WHERE email = $1", AYA)
    page, api = f"/users/{user_id}", f"/api/v1/users/{user_id}"
    assert (await me.get(api)).json()["undelivered"] is None
    await send(world, tenant, NOBODY)
    told = (await me.get(api)).json()["undelivered"]
    assert (told["kind"], told["reason"], told["reply"]) == ("invitation", "refused", NOBODY)
    assert told["at"].endswith("+09:00")
    assert [user["undelivered"] for user in (await me.get("/api/v1/users")).json()["items"]] == [None, told]
    shown = (await me.get(page)).text
    assert "招待メールを送れませんでした" in shown
    assert "550 5.1.1 &lt;script&gt;alert(1)&lt;/script&gt; no such user" in shown
    assert "正しいメールアドレスで招待してください" in shown
    assert "招待メールを送れませんでした" in (await me.get("/users")).text
    # Sent again: on its way, then there.
    await me.post(f"{page}/invite")
    assert "招待メールを送れませんでした" not in (await me.get(page)).text
    await send(world, tenant, "250 ok")
    assert (await me.get(api)).json()["undelivered"] is None


@pytest.mark.postgres
async def test_other_mails_about_an_account_are_seen_too(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    _, user_id, email = await member(world, tenant, me, "addresses:view")
    await send(world, tenant, "250 ok")
    await world.browser(tenant.host).post("/login/forgotten", {"email": email})
    await send(world, tenant, NOBODY)
    shown = (await me.get(f"/users/{user_id}")).text
    assert "パスワード再設定のメールを送れませんでした" in shown
    assert "このメールアドレスがまだ使われているか" in shown
    # Only those who manage users learn that somebody asked for it.
    other, _, _ = await member(world, tenant, me, "addresses:view")
    assert (await other.get(f"/users/{user_id}")).status_code == 403


@pytest.mark.postgres
async def test_a_refused_offer_of_the_masters_place_is_seen_by_the_master(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    _, heir, _ = await member(world, tenant, me)
    await send(world, tenant, "250 ok")
    await me.post("/settings/master", {"to": str(heir), "current_password": PASSWORD})
    assert (await me.get("/api/v1/master-offer")).json()["undelivered"] is None
    await send(world, tenant, NOBODY)
    assert (await me.get("/api/v1/master-offer")).json()["undelivered"]["reply"] == NOBODY
    shown = (await me.get("/settings/master")).text
    assert "マスターアカウントの譲渡のメールを送れませんでした" in shown
    assert "申し出は有効なままです" in shown


@pytest.mark.postgres
async def test_a_refused_test_mail_is_seen_by_who_sent_it_until_another_one_is_sent(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    other, _, _ = await member(world, tenant, me, "deliveries:draft")
    await send(world, tenant, "250 ok")
    made = {"name": "四月号", "category": "notice", "subject": "件名", "text_body": "本文"}
    delivery = (await me.api("POST", "/api/v1/deliveries", json=made)).json()["id"]
    page, api = f"/deliveries/{delivery}", f"/api/v1/deliveries/{delivery}/test"
    assert (await me.get(api)).json() == {"items": []}
    await me.post(f"{page}/test", {"to": f"{AYA} ken@user.example"})
    found = (await me.get(api)).json()["items"]
    assert [(one["to"], one["state"]) for one in found] == [(AYA, "waiting"), ("ken@user.example", "waiting")]
    await send(world, tenant, "451 4.7.1 later")
    assert "451 4.7.1 later" in (await me.get(page)).text
    await run(world, tenant, "UPDATE outbox_mail SET next_at = now()")
    await send(world, tenant, NOBODY)
    found = (await me.get(api)).json()["items"]
    assert [(one["state"], one["reason"], one["reply"]) for one in found] == [("given_up", "refused", NOBODY)] * 2
    shown = (await me.get(page)).text
    assert f"{AYA} 宛てのテストメールを送れませんでした" in shown
    assert "550 5.1.1 &lt;script&gt;alert(1)&lt;/script&gt; no such user" in shown
    assert "もう一度テストメールを送ってください" in shown
    # Where it went is the sender's own: neither colleagues nor the history nor the audit log say it.
    assert (await other.get(api)).json() == {"items": []}
    assert "送れませんでした" not in (await other.get(page)).text
    for told in ((await me.get("/api/v1/audit")).text, (await me.get(f"/api/v1/deliveries/{delivery}/history")).text):
        assert "test" in told
        assert AYA not in told
        assert "mails" not in told
    assert (await me.get("/api/v1/deliveries/999/test")).status_code == 404
    await me.post(f"{page}/test", {"to": AYA})
    await send(world, tenant, "250 ok")
    assert [one["state"] for one in (await me.get(api)).json()["items"]] == ["sent"]
    assert "送れませんでした" not in (await me.get(page)).text


@pytest.mark.postgres
async def test_a_mail_that_waits_is_not_given_up_and_words_about_machines_stay_inside(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    user_id = await invite(me, AYA)
    await send(world, tenant, "451 4.7.1 later")
    assert (await me.get(f"/api/v1/users/{user_id}")).json()["undelivered"] is None
    for error, reason in (
        ("ConnectionRefusedError: 10.96.4.7:25", "not_handed_over"),
        ("not sent before it expired", "expired"),
        ("restored", "restored"),
    ):
        await run(world, tenant, "UPDATE outbox_mail SET done_at = now(), error = $1", error)
        told = (await me.get(f"/api/v1/users/{user_id}")).json()["undelivered"]
        assert (told["reason"], told["reply"]) == (reason, "")
        page = (await me.get(f"/users/{user_id}")).text
        assert "招待メールを再送してください" in page
        assert "10.96.4.7" not in page


@pytest.mark.postgres
async def test_who_was_removed_gets_no_invitation_any_more(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    user_id = await invite(me, AYA)
    assert (await me.api("DELETE", f"/api/v1/users/{user_id}")).status_code == 204
    assert await one(world, tenant, "SELECT count(*) FROM outbox_mail") == 0


def test_words_of_a_server_are_one_line_of_text_that_can_be_kept() -> None:
    said = aiosmtplib.SMTPRecipientRefused(550, "5.1.1\nno\0such\x1b[31muser \udcff" + "x" * 5000, AYA)
    for refused in (said, aiosmtplib.SMTPRecipientsRefused([said])):
        words = _words(refused)
        assert words.startswith("550 5.1.1 no such [31muser \ufffdx")
        assert len(words) == 500
        words.encode()
        assert reason_of(words) == (Reason.REFUSED, words)


@pytest.mark.parametrize("error", ["", "550", "TimeoutError: 550 x", "5500 x", "SMTPServerDisconnected: 550 gone"])
def test_only_a_reply_is_taken_for_one(error: str) -> None:
    assert reason_of(error)[0] is (Reason.REFUSED if error == "550" else Reason.NOT_HANDED_OVER)
