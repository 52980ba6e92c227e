"""What a person does, in a real browser at desktop and phone width; every page on the way goes through axe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, Page, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.support import PASSWORD, setup_token

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PEOPLE = [
    ("山田 太郎", "やまだ たろう", "株式会社やまだ商店", "taro@yamada.example", "03-1234-5678", "取引先、年賀状"),
    ("佐藤 花子", "サトウ ハナコ", "さくら工業株式会社", "hanako@sakura.example", "06-9876-5432", "取引先"),
    ("髙橋 健一", "タカハシ ケンイチ", "", "takahashi@example.jp", "", "社外秘"),
    ("Emily Clark", "エミリー クラーク", "Clark & Co. Ltd.", "emily@clark.example", "+44 20 7946 0018", ""),
    ("株式会社とても長い名前の会社の代表取締役社長 長谷川 長太郎", "ハセガワ チョウタロウ",
     "独立行政法人とてもとても長い名称の研究開発支援機構 関西支部",
     "a.very.long.mail.address.of.somebody@a-long-domain.example",
     "090-1234-5678", "取引先、年賀状、セミナー参加者、要確認"),
]  # fmt: skip


@pytest.fixture(params=[("desktop", "light", "ja"), ("phone", "light", "ja"), ("phone", "dark", "en")])
def page(request: pytest.FixtureRequest, site: Site, chromium: Browser) -> Iterator[Page]:
    """A page whose problems (script errors, CSP violations, failed requests of ours) fail the test."""
    size, scheme, _ = request.param
    context = chromium.new_context(
        ignore_https_errors=True,
        viewport=SIZES[size],
        color_scheme=scheme,
        is_mobile=size == "phone",
        device_scale_factor=2 if size == "phone" else 1,
        java_script_enabled=True,
    )
    context.set_default_timeout(20_000)
    made = context.new_page()
    trouble: list[str] = []
    made.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: trouble.append(str(error)))
    made.look = f"{size}-{scheme}"  # type: ignore[attr-defined]
    made.tongue = request.param[2]  # type: ignore[attr-defined]
    yield made
    context.close()
    # Pages that refuse (4xx) or are closed (503) are reported as errors by the browser itself.
    assert [text for text in trouble if "server responded with a status of" not in text] == []


@pytest.fixture
def tenant(site: Site) -> TenantDb:
    return site.run(site.world.tenant("sakura", limits={"addresses": 6}))


def check(page: Page, name: str) -> None:
    """axe finds nothing, nothing sticks out sideways; a picture goes to ELINK_SCREENSHOTS when that is set."""
    page.wait_for_load_state()
    folder = os.environ.get("ELINK_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}-{page.look}.png", full_page=True)  # type: ignore[attr-defined]
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{name} is {overflow} px wider than the window"
    found = Axe().run(page)
    wrong = [
        (violation["id"], node["target"], node.get("failureSummary"))
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
    assert wrong == [], name


def words(page: Page, ja: str, en: str) -> str:
    return ja if page.tongue == "ja" else en  # type: ignore[attr-defined]


def test_a_day_at_work(page: Page, site: Site, tenant: TenantDb) -> None:
    page.goto(site.url(tenant, f"/setup?token={setup_token(tenant.name)}"))
    if words(page, "ja", "en") == "en":
        page.get_by_role("button", name="English").click()
        page.goto(site.url(tenant, f"/setup?token={setup_token(tenant.name)}"))
    check(page, "01-setup")
    page.get_by_label(words(page, "パスワード", "Password")).first.fill("short")
    page.locator("#password_repeated").fill("short")
    page.locator("main form button.primary").click()
    check(page, "02-setup-refused")
    page.locator("#password").fill(PASSWORD)
    page.locator("#password_repeated").fill(PASSWORD)
    page.locator("main form button.primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(words(page, "ダッシュボード", "Dashboard"))
    check(page, "03-dashboard-empty")
    page.goto(site.url(tenant, "/addresses"))
    check(page, "04-addresses-empty")
    page.goto(site.url(tenant, "/addresses/new"))
    page.locator("#kana").fill("漢字")
    page.locator("#emails-0").fill("no address")
    page.locator("#name").evaluate("element => element.removeAttribute('required')")
    page.locator(".form-foot button").click()
    check(page, "05-form-refused")
    assert page.locator("#kana").input_value() == "漢字"
    for name, kana, company, email, phone, tags in PEOPLE:
        page.goto(site.url(tenant, "/addresses/new"))
        for field, value in (("name", name), ("kana", kana), ("company", company), ("emails-0", email),
                             ("phone", phone), ("tags", tags)):  # fmt: skip
            page.locator(f"#{field}").fill(value)
        page.locator("#postal_address").fill("東京都千代田区千代田1-1\nさくらビル 3F")
        page.locator("#notes").fill("毎年12月にカレンダーを送る。\n担当:鈴木")
        page.locator("#postal_code").fill("1000001")
        page.locator(".form-foot button").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
    check(page, "06-address")
    page.goto(site.url(tenant, "/"))
    check(page, "07-dashboard")
    page.get_by_role("link", name=words(page, "アドレス帳", "Address book")).click()
    check(page, "08-addresses")
    assert page.locator("tbody th a").all_text_contents() == [PEOPLE[i][0] for i in (3, 1, 2, 4, 0)]
    page.locator("#q").fill("ﾀｶﾊｼ")
    page.keyboard.press("Enter")
    expect(page.locator("tbody th a")).to_have_text([PEOPLE[2][0]])
    check(page, "09-search")
    page.locator("tbody th a").click()
    page.get_by_role("link", name=words(page, "編集", "Edit")).click()
    check(page, "10-form")
    page.goto(page.url.removesuffix("/edit"))
    page.get_by_role("button", name=words(page, "削除", "Delete")).click()
    check(page, "11-deleted")
    page.goto(site.url(tenant, "/addresses/deleted"))
    check(page, "12-trash")
    page.locator("main td button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PEOPLE[2][0])
    page.goto(site.url(tenant, "/account"))
    check(page, "13-account")
    page.goto(site.url(tenant, "/nowhere"))
    check(page, "14-not-found")
    page.goto(site.url(tenant, "/"))
    page.get_by_role("button", name=words(page, "ログアウト", "Log out")).click()
    check(page, "15-login")
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill("not the password")
    page.locator("main form button.primary").click()
    check(page, "16-login-refused")


def test_suspended(page: Page, site: Site, tenant: TenantDb) -> None:
    site.run(
        site.world.change(
            tenant, state="Suspended", state_reason="お支払いの確認ができていないため。\n詳細は営業窓口へ。"
        )
    )
    answer = page.goto(site.url(tenant, "/addresses"))
    assert answer is not None
    assert answer.status == 503
    expect(page.get_by_text("お支払いの確認")).to_be_visible()
    check(page, "17-suspended")


def test_by_keyboard_alone(chromium: Browser, site: Site, tenant: TenantDb) -> None:
    """Skip link, log-in, add an address: Tab, Enter and typing only, and the focus is always visible."""
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    page = context.new_page()
    site.run(site.world.master(tenant))
    page.goto(site.url(tenant, "/login"))
    page.locator("body").press("Tab")
    page.locator("#email").focus()
    page.keyboard.type(tenant.master_email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("ダッシュボード")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("本文へ移動")
    expect(page.locator(":focus")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("アドレスを登録")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("アドレスを登録")
    page.locator("#name").focus()
    page.keyboard.type("山田 太郎")
    page.locator("#phone").focus()
    page.keyboard.type("なし")
    page.keyboard.press("Enter")
    # After an error the list of what is wrong has the focus, and leads to the field.
    expect(page.locator(":focus")).to_contain_text("入力内容をご確認ください")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("電話番号")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_attribute("id", "phone")
    page.locator("#phone").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("山田 太郎")
    context.close()
