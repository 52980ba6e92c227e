"""From the order to send to the mail itself: the worker's composer takes what the pages froze, and its link works."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from elink_app.clicks.repository import ClickRepository
from elink_app.clock import utc_now
from elink_app.deliveries.models import Delivery, DeliveryRecipient
from elink_app.deliveries.sending import Sending
from elink_app.mail.compose import Composer, Content, Origin, Recipient
from sqlalchemy import select

from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.deliveries.test_audience import GIVEN

COMPANY = "<b>山田 & 娘</b>"
pytestmark = pytest.mark.postgres


async def composed(office: Office, delivery_id: int) -> dict[str, EmailMessage]:
    """The mails of a delivery by recipient, as the worker makes them."""
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    async with office.world.parts.databases.transaction(tenant) as db:
        row = await db.get(Delivery, delivery_id)
        assert row is not None
        secret = await Sending(db).secret()
        links = await ClickRepository(db).links(row.id)
        people = (await db.scalars(select(DeliveryRecipient).where(DeliveryRecipient.delivery_id == row.id))).all()
    content = Content(
        row.subject, row.text_body, row.html_body, row.from_address, row.from_name, row.reply_to, tuple(row.fields),
        links=links,
    )  # fmt: skip
    frozen = row.frozen_at.isoformat() if row.frozen_at is not None else ""
    composer = Composer(row.id, content, Origin(tenant.uid, secret, f"https://{tenant.host}", frozen=frozen))
    mails = {}
    for person in people:
        mail = composer.compose(Recipient(person.id, person.email, person.slots), utc_now())
        parsed = message_from_bytes(mail.mail().body.removesuffix(b".\r\n"), policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        mails[person.email] = parsed
    return mails


async def test_an_advert_as_it_leaves(office: Office) -> None:
    await office.sql(
        "UPDATE address SET company = '<b>山田 & 娘</b>', name = '山田\u3000太郎' WHERE name = '山田 太郎'"
    )
    await office.sql(GIVEN, "taro@a.example", "given", -1)
    made = await office.ready(
        category="advert", subject="{{名前|お客様}} 様へ", layout="html", text_body="",
        source="<p>{{会社|御社 & 皆}} の {{名前}} 様 <a href='https://a.example/?c={{会社}}'>見る</a></p>",
    )  # fmt: skip
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    mails = await composed(office, made["id"])
    assert list(mails) == ["taro@a.example"]
    mail = mails["taro@a.example"]
    assert mail["Subject"] == "山田\u3000太郎 様へ"
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert "&lt;b&gt;山田 &amp; 娘&lt;/b&gt; の" in html.get_content()
    assert "<b>" not in html.get_content()
    assert "<b>山田 & 娘</b> の" in text.get_content()
    links = set()
    for part in (html, text):
        for word in ("株式会社さくら商店", "東京都千代田区1-1", "info@sakura.example"):
            assert word in part.get_content()
        links |= set(re.findall(r"https://[^\"\s]+/unsubscribe/[0-9a-f]{50}", part.get_content()))
    assert mail["List-Unsubscribe"] == f"<{links.pop()}>"
    assert links == set()
    link = mail["List-Unsubscribe"].strip("<>")
    visitor = office.world.browser(office.tenant.host)
    assert "t***@a.example" in (await visitor.get(link)).text
    pressed = await visitor.client.post(link, data={"List-Unsubscribe": "One-Click"})
    assert pressed.status_code == 200
    assert "広告メールを停止しました" in (await visitor.get(link)).text


async def test_a_default_with_signs_of_html_is_escaped_once(office: Office) -> None:
    made = await office.ready(layout="html", source="<p>[{{会社|A & B}}]</p>", text_body="[{{会社|A & B}}]")
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    mail = (await composed(office, made["id"]))["hanako@b.example"]
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert "[A &amp; B]" in html.get_content()
    assert "[A & B]" in text.get_content()
