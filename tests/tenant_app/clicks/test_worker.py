"""From the order to send, by the worker and a relay, to the link that a recipient opens."""

from __future__ import annotations

import email
import email.policy
import re

import pytest

from tests.tenant_app.clicks.support import PAGE, TEXT, A
from tests.tenant_app.deliveries.conftest import office  # noqa: F401 - the fixture of this module
from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.worker.deliveries import CountingRelay, relaying
from tests.tenant_app.worker.deliveries import Office as Post

pytestmark = pytest.mark.postgres


async def test_the_worker_sends_each_recipient_links_of_their_own(office: Office) -> None:  # noqa: F811
    await office.rules(hold_minutes=0)
    made = await office.ready(layout="html", text_body=TEXT, source=PAGE, count_clicks=True)
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    async with relaying(CountingRelay()) as relay:
        options = {"smtp_host": "127.0.0.1", "smtp_port": relay.port, "smtp_connections": 4}
        await Post(office.world, office.tenant, office.world.server.settings.model_copy(update=options)).send()
        assert relay.accepted.total() == 2
        links = [set(re.findall(rf"https://{office.tenant.host}(/l/\w+)", whole(body))) for body in relay.bodies]
    assert [len(one) for one in links] == [2, 2]
    assert len(links[0] | links[1]) == 4
    visitor = office.world.browser(office.tenant.host).client
    answers = [await visitor.get(path) for one in links for path in one]
    assert [answer.headers["location"] for answer in answers].count(A) == 2
    # Seconds after the mail was handed over.
    rows = await office.sql("SELECT human_at FROM delivery_click")
    assert [row["human_at"] for row in rows] == [None] * 4


def whole(body: bytes) -> str:
    """All parts of a mail as it went over the wire."""
    mail = email.message_from_bytes(body.removesuffix(b".\r\n"), policy=email.policy.SMTP)
    return "\n".join(part.get_content() for part in mail.walk() if not part.is_multipart())
