"""A delivery on the real cluster: from the page's API through the worker and the relay into the sink, and opted out."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.kubectl import KubectlError, eventually
from tests.support.live import Live
from tests.support.mails import client, hand_over, mailpit, mails

PASSWORD = "青空の下で毎朝パンを焼く"
SENDER = "news@sakura.example"
RULES = {
    "organisation": "株式会社さくら商店", "postal_address": "東京都千代田区1-1", "contact": "info@sakura.example",
    "approval_required": False, "hold_minutes": 0, "type_count_above": 100, "quiet_from": None, "quiet_until": None,
    "resend_unknown": False,
}  # fmt: skip


class Master:
    """The master of a tenant, over HTTPS with the gateway's certificate checked."""

    def __init__(self, live: Live, tenant: str) -> None:
        self.host = f"{tenant}.elink.localhost"
        self._live = live
        self.client = client(live, self.host)

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.text

    def set_up(self) -> None:
        """Follow the one-time link of the tenant's Secret."""
        data = self._live.kubectl.json(
            "get", "secret", "-n", "elink-system", f"elink-{self.host.split('.')[0]}-master"
        )["data"]
        link = urlsplit(base64.b64decode(data["setup-url"]).decode())
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.page(f"{link.path}?{link.query}"))
        assert found
        token = link.query.removeprefix("token=")
        form = {"csrf_token": found[1], "token": token, "password": PASSWORD, "password_repeated": PASSWORD}
        answer = self.client.post("/setup", data=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303, answer.text

    def call(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """A call of the API that must answer `expect`."""
        token = self.client.get("/api/v1/session").json()["csrf_token"]
        headers = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin"}
        answer = self.client.request(method, f"/api/v1{path}", headers=headers, **options)
        assert answer.status_code == expect, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None


@pytest.fixture
def master(live: Live, tenant: str) -> Iterator[Master]:
    made = Master(live, tenant)
    made.set_up()
    yield made
    made.client.close()


def test_an_advert_reaches_who_consented_once_each_and_one_click_ends_it(live: Live, master: Master) -> None:
    domain = f"@{master.host.split('.')[0]}.example"
    for name in ("山田 太郎", "佐藤 花子", "鈴木 一郎", "田中 同意なし"):
        email = f"p{ord(name[0])}{domain}"
        master.call("POST", "/addresses", 201, json={"name": name, "emails": [email], "tags": ["客"]})
        if "同意なし" not in name:
            given = {"kind": "given", "how": "書面", "wording": "お知らせを受け取ります"}
            master.call("POST", f"/consents/{email}", 201, json=given)
    tag = next(t["id"] for t in master.call("GET", "/tags") if t["name"] == "客")
    tree = {"kind": "all", "of": [{"kind": "tag", "tag_id": tag}]}
    segment = master.call("POST", "/segments", 201, json={"name": "お客様", "tree": tree})["id"]
    master.call("POST", "/settings/sender-addresses", 201, json={"email": SENDER, "name": "さくら"})
    master.call("PUT", "/settings/sender", json=RULES)
    content = {
        "name": "お知らせ", "category": "advert", "from_name": "さくら商店", "from_address": SENDER,
        "segment_id": segment, "subject": "{{名前|お客様}} 様へ",
        "text_body": "{{名前}} 様\n営業時間が変わります。\n{{配信停止URL}}",
    }  # fmt: skip

    def send() -> int:
        number = int(master.call("POST", "/deliveries", 201, json=content)["id"])
        master.call("POST", f"/deliveries/{number}/request")
        master.call("POST", f"/deliveries/{number}/release", json={"when": "now"})
        eventually(
            lambda: master.call("GET", f"/deliveries/{number}")["state"] == "done", timeout=90, what="the delivery ends"
        )
        return number

    first = send()
    arrived = mails(live, domain)
    assert sorted(mail["Subject"] for mail in arrived) == ["佐藤 花子 様へ", "山田 太郎 様へ", "鈴木 一郎 様へ"]
    states = {row["state"] for row in master.call("GET", f"/deliveries/{first}/recipients")["items"]}
    assert states == {"accepted"}

    headers = mailpit(live, f"message/{arrived[0]['ID']}/headers")
    assert headers["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
    link = urlsplit(headers["List-Unsubscribe"][0].strip("<>"))
    assert link.netloc == f"{master.host}:{live.https_port}"
    with client(live, master.host) as stranger:
        assert stranger.get(link.path).status_code == 200
        gone = arrived[0]["To"][0]["Address"]
        assert master.call("GET", f"/consents/{gone}")["consent"] == "given", "looking at the page stops nothing"
        done = stranger.post(link.path, data={"List-Unsubscribe": "One-Click"})
        assert done.status_code == 200, done.text
    assert master.call("GET", f"/consents/{gone}")["consent"] == "withdrawn"

    # Another address does not exist: the relay brings the report back, by the Service that such mail is handed over to.
    bounced = arrived[1]["To"][0]["Address"]
    sender = mailpit(live, f"message/{arrived[1]['ID']}/headers")["Return-Path"][0].strip("<>")
    home = str(live.kubectl.json("get", "elinktenant", master.host.split(".")[0])["status"]["server"])
    assert sender.endswith(f"@{home}.bounces.elink.localhost")
    hand_over(live, home, sender)

    def state_of(email: str) -> str:
        items = master.call("GET", f"/deliveries/{first}/recipients")["items"]
        return str(next(row["state"] for row in items if row["email"] == email))

    eventually(lambda: state_of(bounced) == "bounced", timeout=90, what="the bounce is in the history")
    with pytest.raises(KubectlError, match="550"):
        hand_over(live, home, f"b-nobody@{home}.bounces.elink.localhost")

    send()
    assert len(mails(live, domain)) == 4, "one of three gets the second one"
