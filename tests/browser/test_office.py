"""A working day of a customer in a real browser: people, import, approval, 1,000 mails, and what came back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_login import PASSWORD, log_in
from tests.cluster.conftest import made_tenant
from tests.support.kubectl import eventually
from tests.support.live import Live
from tests.support.mails import client, hand_over, mailpit, mails

HEADING = "氏名,フリガナ,会社名,メールアドレス,タグ\r\n"
RECIPIENTS = 1000
SENDER = "news@hinata.example"
WORDING = "新商品のご案内をメールでお送りします"


@pytest.fixture
def office(live: Live) -> Iterator[str]:
    """A tenant of this test, with a plan that lets 1,000 mails go at once."""
    with made_tenant(live, "hinata", limits={"mailsPerHour": 100_000}):
        yield "hinata"


class Desk:
    """One person's browser page at one tenant."""

    def __init__(self, live: Live, page: Page, tenant: str) -> None:
        self.page = page
        self._base = f"https://{tenant}.elink.localhost:{live.https_port}"

    def go(self, path: str, expect_status: int = 200) -> None:
        answer = self.page.goto(self._base + path)
        assert answer is not None
        assert answer.status == expect_status, (path, answer.status)

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.page.locator(f"main [name={name}]").first.fill(value)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(text)

    def leave(self) -> None:
        self.go("/")
        self.press("ログアウト")

    def enter(self, email: str) -> None:
        self.go("/login")
        self.fill(email=email, password=PASSWORD)
        self.page.locator("form.stack button").first.click()
        self.heading("ダッシュボード")


def test_a_working_day(browser: BrowserContext, live: Live, office: str) -> None:
    run = int(time.time())
    domain, staff = f"@customers-{run}.example", f"@staff-{run}.example"
    page = browser.new_page()
    desk = Desk(live, page, office)
    log_in(page, live, office)
    master_email = str(live.kubectl.json("get", "et", office)["spec"]["masterAccount"]["email"])

    links = [invite(desk, live, f"{who}{staff}", role, rights) for who, role, rights in (
        ("reader", "閲覧", ["addresses:view"]),
        ("checker", "承認", ["addresses:view", "deliveries:draft", "deliveries:approve"]),
    )]  # fmt: skip
    import_addresses(desk, domain)
    make_segment(desk)
    sender_settings(desk)
    token = make_token(desk)
    record_consents(live, office, token, domain)
    delivery = draft(desk)

    desk.leave()
    for link in links:
        welcome(desk, link)
        desk.leave()
    desk.enter(f"reader{staff}")
    desk.go(f"/deliveries/{delivery}", expect_status=403)
    expect(page.get_by_text("春の新商品のご案内")).to_have_count(0)
    desk.leave()
    desk.enter(f"checker{staff}")
    desk.go(f"/deliveries/{delivery}")
    assert page.get_by_role("button", name="配信する", exact=True).count() == 0, "whoever approves does not send"
    page.locator("form[action$='/approve'] button").click()
    expect(page.get_by_text("承認しました。")).to_be_visible()
    desk.leave()

    desk.enter(master_email)
    desk.go(f"/deliveries/{delivery}")
    desk.fill(typed_count=str(RECIPIENTS))
    desk.press("配信する")
    expect(page.locator(".notice-bad")).to_have_count(0)
    eventually(
        lambda: api(live, office, token, "GET", f"/deliveries/{delivery}")["state"] == "done",
        timeout=180, what="the delivery ends",
    )  # fmt: skip
    arrived = mails(live, domain)
    assert len({mail["To"][0]["Address"] for mail in arrived}) == len(arrived) == RECIPIENTS
    assert arrived[0]["Subject"].endswith("様へ 春の新商品のご案内")

    headers = mailpit(live, f"message/{arrived[0]['ID']}/headers")
    assert headers["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
    assert headers["From"][0].endswith(f"<{SENDER}>")
    assert headers["To"] == [arrived[0]["To"][0]["Address"]]
    text = mailpit(live, f"message/{arrived[0]['ID']}")["Text"]
    assert "株式会社ひなた" in text
    assert "{{" not in text + arrived[0]["Subject"]
    left = arrived[0]["To"][0]["Address"]
    with client(live, f"{office}.elink.localhost") as stranger:
        one_click = urlsplit(headers["List-Unsubscribe"][0].strip("<>")).path
        assert stranger.post(one_click, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    bounced = arrived[1]["To"][0]["Address"]
    home = str(live.kubectl.json("get", "et", office)["status"]["server"])
    hand_over(live, home, mailpit(live, f"message/{arrived[1]['ID']}/headers")["Return-Path"][0].strip("<>"))

    desk.go(f"/deliveries/{delivery}/recipients?state=bounced")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("rowheader", name=bounced)).to_be_visible()
    desk.go("/suppressions")
    expect(page.get_by_role("row", name=re.compile(re.escape(bounced)))).to_be_visible()
    assert api(live, office, token, "GET", f"/consents/{left}")["consent"] == "withdrawn"
    desk.go("/audit")
    expect(page.locator("tbody tr")).not_to_have_count(0)

    neighbour = browser.new_page()
    log_in(neighbour, live, "aozora")
    for path in ("/addresses", "/deliveries", "/segments", "/users", "/audit"):
        Desk(live, neighbour, "aozora").go(path)
        content = neighbour.content()
        assert domain not in content
        assert "春の新商品" not in content
    with client(live, "aozora.elink.localhost") as stranger:
        answer = stranger.get("/api/v1/addresses", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, answer.text


def api(live: Live, tenant: str, token: str, method: str, path: str, **options: object) -> dict[str, object]:
    """A call of the JSON API by a program with a token."""
    with client(live, f"{tenant}.elink.localhost") as program:
        answer = program.request(method, f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"}, **options)  # type: ignore[arg-type]
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        found: dict[str, object] = answer.json()
        return found


def invite(desk: Desk, live: Live, email: str, role: str, rights: list[str]) -> str:
    """A role and a user who has it; returns the link of the mail that they get."""
    desk.go("/roles/new")
    desk.fill(name=role)
    for right in rights:
        desk.page.locator(f"input[name=permissions][value='{right}']").check()
    desk.press("保存")
    desk.go("/users/new")
    desk.fill(email=email, display_name=role)
    desk.page.get_by_label(role).check()
    desk.press("招待を送る")
    desk.heading(email)
    mail = eventually(lambda: mails(live, email), timeout=90, what=f"the invitation of {email}")[0]
    found = re.search(r"https://\S+/welcome\?token=\S+", mailpit(live, f"message/{mail['ID']}")["Text"])
    assert found
    return found[0]


def welcome(desk: Desk, link: str) -> None:
    desk.page.goto(link)
    desk.fill(password=PASSWORD, password_repeated=PASSWORD)
    desk.page.locator("form.stack button").first.click()
    desk.heading("ダッシュボード")


def import_addresses(desk: Desk, domain: str) -> None:
    """A file as Excel in Japan writes it."""
    rows = "".join(
        f"髙橋 第{number}号,タカハシ,㈱ひなた商店,kyaku{number}{domain},顧客\r\n" for number in range(RECIPIENTS)
    )
    desk.go("/imports")
    desk.page.locator("#file").set_input_files(
        {"name": "顧客名簿.csv", "mimeType": "text/csv", "buffer": (HEADING + rows).encode("cp932")}
    )
    desk.press("アップロード")
    expect(desk.page.locator("#encoding")).to_have_value("cp932")
    expect(desk.page.get_by_text("髙橋 第0号")).to_be_visible()
    desk.press("確認する")
    run = desk.page.get_by_role("button", name="取り込みを実行", exact=True)
    run.wait_for(timeout=90_000)
    run.click()
    expect(desk.page.get_by_role("button", name="この取り込みを取り消す")).to_be_visible(timeout=120_000)


def make_segment(desk: Desk) -> None:
    desk.go("/segments/new")
    desk.fill(name="顧客")
    desk.page.locator("#row-0-what").select_option("tag")
    desk.page.locator("#row-0-op").select_option("is")
    desk.page.locator("#row-0-value").fill("顧客")
    desk.press("保存")
    expect(desk.page.get_by_text("1,000").first).to_be_visible()


def sender_settings(desk: Desk) -> None:
    desk.go("/settings/sender")
    desk.fill(organisation="株式会社ひなた", postal_address="東京都千代田区千代田1-1", contact="info@hinata.example")
    desk.fill(hold_minutes="0", type_count_above="100", quiet_from="", quiet_until="")
    desk.page.locator("[name=approval_required]").check()
    desk.page.locator("main form .primary").first.click()
    desk.fill(email=SENDER)
    desk.press("送信元を追加")
    expect(desk.page.get_by_text(SENDER)).to_be_visible()


def make_token(desk: Desk) -> str:
    desk.go("/account/tokens")
    desk.fill(name="基幹システム")
    for right in ("addresses:view", "addresses:edit", "deliveries:draft"):
        desk.page.locator(f"input[name=permissions][value='{right}']").check()
    desk.page.locator("main form button.primary").click()
    return desk.page.locator(".secret").inner_text()


def record_consents(live: Live, tenant: str, token: str, domain: str) -> None:
    """As the shop's own system does it: by the API, one proof per person."""
    given = json.dumps({"kind": "given", "how": "会員登録", "wording": WORDING})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with client(live, f"{tenant}.elink.localhost") as program:
        for number in range(RECIPIENTS):
            answer: httpx.Response = program.post(
                f"/api/v1/consents/kyaku{number}{domain}", content=given, headers=headers
            )
            assert answer.status_code == 201, answer.text


def draft(desk: Desk) -> int:
    """Template, and a delivery that begins with it, put up for approval."""
    desk.go("/templates/new")
    desk.fill(name="月次の案内", subject="{{名前|お客様}} 様へ 春の新商品のご案内")
    desk.fill(text_body="{{名前|お客様}} 様\n\n新商品が出ました。\n\n{{配信停止URL}}\n")
    desk.press("保存")
    desk.go("/deliveries/new")
    desk.press("このテンプレートで始める")
    desk.fill(name="春の案内", from_name="ひなた商店")
    desk.page.locator("#category").select_option("advert")
    desk.page.locator("#segment_id").select_option(label="顧客")
    desk.page.locator("#from_address").select_option(SENDER)
    desk.press("保存")
    desk.heading("春の案内")
    desk.press("承認を依頼")
    return int(desk.page.url.split("?")[0].rsplit("/", 1)[1])
