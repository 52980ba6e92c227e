"""Opting out by the link in a mail: looking stops nothing, one press does, and only for one's own address."""

from __future__ import annotations

import re

import pytest
from elink_app.mail.tokens import DeliveryTokens
from elink_app.optout.service import masked

from tests.tenant_app.deliveries.conftest import office  # noqa: F401 - the fixture of this module
from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

SECRET = b"s" * 32
TARO = "taro@a.example"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def sent(office: Office, category: str = "notice") -> tuple[int, str]:  # noqa: F811
    """A delivery that waits to be sent, and the link's path for taro@a.example."""
    made = await office.ready()
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery SET category = $1 WHERE id = $2", category, made["id"])
    await office.sql("INSERT INTO mail_secret (id, secret) VALUES (1, $1) ON CONFLICT DO NOTHING", SECRET)
    rows = await office.sql(
        "SELECT id FROM delivery_recipient WHERE delivery_id = $1 AND email = 'taro@a.example'", made["id"]
    )
    token = DeliveryTokens(SECRET, b"", made["id"], "").unsubscribe(rows[0]["id"])
    return made["id"], f"/unsubscribe/{token}"


async def records(office: Office) -> tuple[list[tuple[str, str]], list[tuple[str, bool]]]:  # noqa: F811
    """The ledger of consent and the reasons not to send, as (key, kind) and (key, still holds)."""
    ledger = await office.sql("SELECT email_key, kind FROM consent ORDER BY id")
    reasons = await office.sql("SELECT email_key, lifted_at IS NULL AS holds FROM suppression ORDER BY id")
    return [(row["email_key"], row["kind"]) for row in ledger], [(row["email_key"], row["holds"]) for row in reasons]


async def consent(office: Office, email_key: str = TARO) -> None:  # noqa: F811
    statement = "INSERT INTO consent (email_key, kind, at) VALUES ($1, 'given', now() - interval '1 day')"
    await office.sql(statement, email_key)


async def test_looking_stops_nothing(office: Office) -> None:  # noqa: F811
    _, path = await sent(office)
    visitor = office.world.browser(office.tenant.host)
    for _ in range(3):
        page = await visitor.get(path)
        assert page.status_code == 200
        assert "t***@a.example" in page.text
        assert "taro@a.example" not in page.text
        assert "hanako" not in page.text
        assert "佐藤" not in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert (await visitor.client.head(path)).status_code in (200, 405)
    await visitor.get(path + "?List-Unsubscribe=One-Click&choice=all")
    assert await records(office) == ([], [])


@pytest.mark.parametrize("multipart", [False, True])
async def test_one_click_without_session_or_token(office: Office, multipart: bool) -> None:  # noqa: F811
    await consent(office)
    delivery, path = await sent(office, "advert")
    program = office.world.browser(office.tenant.host).client
    body = {"files": {"List-Unsubscribe": (None, "One-Click")}} if multipart else {"data": ONE_CLICK}
    for _ in range(2):
        answer = await program.post(path, headers={"Origin": "https://mail.example"}, **body)
        assert answer.status_code == 200, answer.text
    assert await records(office) == ([(TARO, "given"), (TARO, "withdrawn")], [])
    proof = await office.sql("SELECT how, source, recorded_by FROM consent ORDER BY id DESC LIMIT 1")
    assert (proof[0]["how"], proof[0]["recorded_by"]) == ("one_click", "recipient")
    assert proof[0]["source"].startswith(f"delivery {delivery}, mail ")
    rows = await office.sql("SELECT email, state, reply, next_at FROM delivery_recipient ORDER BY email")
    assert [(row["email"], row["state"], row["reply"]) for row in rows] == [
        ("hanako@b.example", "queued", ""), ("taro@a.example", "skipped", "suppressed"),
    ]  # fmt: skip
    assert rows[1]["next_at"] is None
    assert (await office.call("GET", f"/deliveries/{delivery}"))["counts"]["skipped"] == 1
    log = await office.sql("SELECT actor, before, after FROM audit_entry WHERE action = 'optout.adverts'")
    assert len(log) == 1
    assert log[0]["actor"] == "recipient"
    assert "taro" not in log[0]["after"]


async def test_everything_is_stopped_and_resumed_on_the_page(office: Office) -> None:  # noqa: F811
    _, path = await sent(office)
    visitor = office.world.browser(office.tenant.host).client
    assert (await visitor.post(path, data={"choice": "all"})).status_code == 303
    assert "すべてのメールを停止しました" in (await visitor.get(path)).text
    # One press more in a mail program does not weaken it.
    await visitor.post(path, data=ONE_CLICK)
    made = await office.draft()
    counted = await office.call("GET", f"/deliveries/{made['id']}/audience")
    assert counted["left_out"] == {"duplicate": 1, "no_email": 1, "suppressed": 1}
    assert counted["recipients"] == 1
    await visitor.post(path, data={"choice": "none"})
    assert (await office.call("GET", f"/deliveries/{made['id']}/audience"))["recipients"] == 2
    assert await records(office) == ([], [(TARO, False)])


async def test_adverts_alone(office: Office) -> None:  # noqa: F811
    _, path = await sent(office, "notice")
    visitor = office.world.browser(office.tenant.host).client
    await visitor.post(path, data={"choice": "adverts"})
    assert "広告メールを停止しました" in (await visitor.get(path)).text
    # The notice that waits still goes.
    rows = await office.sql("SELECT state FROM delivery_recipient WHERE email = 'taro@a.example'")
    assert rows[0]["state"] == "queued"
    notice, advert = await office.draft(), await office.draft(category="advert")
    assert (await office.call("GET", f"/deliveries/{notice['id']}/audience"))["recipients"] == 2
    await consent(office, "hanako@b.example")
    counted = await office.call("GET", f"/deliveries/{advert['id']}/audience")
    assert (counted["recipients"], counted["left_out"]) == (1, {"duplicate": 1, "no_consent": 1, "no_email": 1})
    # There is no consent to go back to: the page does not offer it, and the press alone makes none.
    assert "再び受け取る" not in (await visitor.get(path)).text
    await visitor.post(path, data={"choice": "none"})
    assert await records(office) == ([(TARO, "withdrawn"), ("hanako@b.example", "given")], [])


async def test_undo_restores_a_consent_that_there_was(office: Office) -> None:  # noqa: F811
    await consent(office)
    _, path = await sent(office)
    visitor = office.world.browser(office.tenant.host).client
    await visitor.post(path, data={"choice": "all"})
    assert await records(office) == ([(TARO, "given"), (TARO, "withdrawn")], [(TARO, True)])
    assert "再び受け取る" in (await visitor.get(path)).text
    await visitor.post(path, data={"choice": "none"})
    assert await records(office) == ([(TARO, "given"), (TARO, "withdrawn"), (TARO, "given")], [(TARO, False)])
    page = (await office.me.get(f"/consents?email={TARO}")).text
    for words in ("メールの配信停止ページ", "記録者:受信者ご本人", "メール 1", "解除:"):
        assert words in page, words
    assert not re.search(r">page<|· page |mail \d|recipient", page.partition("<main")[2])
    advert = await office.draft(category="advert")
    assert (await office.call("GET", f"/deliveries/{advert['id']}/audience"))["recipients"] == 1


async def test_a_bounce_is_not_lifted_by_the_link(office: Office) -> None:  # noqa: F811
    _, path = await sent(office)
    await office.sql("INSERT INTO suppression (email_key, reason) VALUES ($1, 'bounced')", TARO)
    visitor = office.world.browser(office.tenant.host).client
    await visitor.post(path, data={"choice": "all"})
    await visitor.post(path, data={"choice": "none"})
    assert (await records(office))[1] == [(TARO, True), (TARO, False)]


async def test_wrong_tokens(office: Office, world: World) -> None:  # noqa: F811
    _, path = await sent(office)
    token = path.rpartition("/")[2]
    other = await world.tenant()
    flipped = ("b" if token[0] != "b" else "c") + token[1:]
    bad = [flipped, token[:-1] + ("a" if token[-1] != "a" else "b"), "a" * 40, token[:-1], token + "a", "%00", "x"]
    visitor = office.world.browser(office.tenant.host).client
    for wrong in bad:
        assert (await visitor.get(f"/unsubscribe/{wrong}")).status_code == 404, wrong
        answer = await visitor.post(f"/unsubscribe/{wrong}", data=ONE_CLICK)
        assert answer.status_code in (403, 404), wrong
    stranger = world.browser(other.host).client
    assert (await stranger.get(path)).status_code == 404
    assert (await stranger.post(path, data=ONE_CLICK)).status_code == 404
    async with world.server.inside(other.database) as connection:
        await connection.execute("INSERT INTO mail_secret (id, secret) VALUES (1, $1)", b"o" * 32)
    assert (await stranger.get(path)).status_code == 404
    assert (await visitor.post(path, data={"choice": "everything"})).status_code == 404
    assert (await visitor.post(path, json={"choice": "all"})).status_code == 415
    assert await records(office) == ([], [])


async def test_nothing_else_is_open(office: Office) -> None:  # noqa: F811
    delivery, path = await sent(office)
    client = office.me.client
    for where in (f"/deliveries/{delivery}/cancel", "/unsubscribe", "/unsubscribe/", f"{path}/../../deliveries",
                  f"{path}x", f"/x{path}"):  # fmt: skip
        answer = await client.post(where, data=ONE_CLICK, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403, where
    assert (await office.call("GET", f"/deliveries/{delivery}"))["state"] == "holding"


async def test_the_link_of_a_test_mail_stops_nothing(office: Office) -> None:  # noqa: F811
    page = await office.world.browser(office.tenant.host).get("/unsubscribe/example")
    assert page.status_code == 200
    assert "何も停止されません" in page.text
    assert '<form method="post" action="/unsubscribe' not in page.text


def test_masked() -> None:
    assert masked("taro@a.example") == "t***@a.example"
    assert masked("t@a.example") == "t***@a.example"
