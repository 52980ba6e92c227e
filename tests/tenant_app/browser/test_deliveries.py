"""A delivery made by a person in a real browser without script, at desktop and phone width; axe looks at every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, Page, Request, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.browser.test_pages import SIZES, check, words
from tests.tenant_app.support import PASSWORD, setup_token

# A valid picture of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf500f0003860180"
    "5a34c9ab0000000049454e44ae426082"
)
PDF = b"%PDF-1.7" + bytes(5000)
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{名前|お客様}} 様 <a href='https://www.sakura.example/'>見る</a>"
    "</mj-text>"
    "<mj-image src='https://example.invalid/x.png' alt='看板'/></mj-column></mj-section></mj-body></mjml>"
)

Go = Callable[[str], None]
"""Opens a path of the tenant."""


@pytest.fixture(params=[("desktop", "light", "ja"), ("phone", "dark", "en")])
def visitor(request: pytest.FixtureRequest, site: Site, chromium: Browser) -> Iterator[Page]:
    """A page in which every request that leaves this site is stopped by the policy of the page."""
    size, scheme, tongue = request.param
    context = chromium.new_context(
        ignore_https_errors=True, viewport=SIZES[size], color_scheme=scheme, is_mobile=size == "phone"
    )
    context.set_default_timeout(20_000)
    made = context.new_page()
    outside: list[str] = []

    def asked(request: Request) -> None:
        if ".elink.localhost" not in request.url and request.failure != "csp":
            outside.append(f"{request.url} {request.failure}")

    made.on("requestfinished", asked)
    made.on("requestfailed", asked)
    made.look, made.tongue = f"{size}-{scheme}", tongue  # type: ignore[attr-defined]
    yield made
    context.close()
    assert outside == []


def test_a_delivery(visitor: Page, site: Site) -> None:
    tenant = site.run(site.world.tenant("sakura"))
    page = visitor

    def go(path: str) -> None:
        page.goto(site.url(tenant, path))

    enter(page, site, tenant)
    name_the_sender(page, go)
    add_an_address(page, go)
    site.run(add_segment(site, tenant))
    write_a_template(page, go)
    begin_with_the_template(page, go)
    attach_a_file(page)
    send_and_look(page)
    go("/deliveries")
    check(page, "44-deliveries")


def name_the_sender(page: Page, go: Go) -> None:
    go("/settings/sender")
    check(page, "30-sender-empty")
    page.locator("#organisation").fill("株式会社さくら商店")
    page.locator("#postal_address").fill("東京都千代田区千代田1-1")
    page.locator("#contact").fill("info@sakura.example")
    page.locator("[name=approval_required]").uncheck()
    page.locator("#type_count_above").fill("0")
    page.locator("#quiet_from").fill("21:00")
    page.locator("main form .primary").first.click()
    check(page, "31-sender-refused")
    page.locator("#quiet_until").fill("08:00")
    page.locator("main form .primary").first.click()
    page.locator("#email").fill("news@sakura.example")
    page.get_by_role("button", name=words(page, "送信元を追加", "Add a sender")).click()
    check(page, "32-sender")
    go("/settings/dkim")
    page.get_by_role("button", name=words(page, "鍵を作成", "Make a key")).click()
    check(page, "33-dkim")


def add_an_address(page: Page, go: Go) -> None:
    go("/addresses/new")
    page.locator("#name").fill("山田 太郎")
    page.locator("#emails-0").fill("taro@yamada.example")
    page.locator("#tags").fill("顧客")
    page.locator(".form-foot button").click()


def write_a_template(page: Page, go: Go) -> None:
    go("/templates")
    page.locator("#image").set_input_files({"name": "看板.png", "mimeType": "image/png", "buffer": PNG})
    page.get_by_role("button", name=words(page, "アップロード", "Upload")).click()
    expect(page.locator(".images img")).to_be_visible()
    check(page, "34-templates")
    go("/templates/new")
    page.locator("#name").fill("月次の案内")
    page.locator("#subject").fill("{{なまえ}} 様")
    page.locator("#layout").select_option("mjml")
    page.locator("#source").fill(MJML)
    page.locator(".form-foot button").click()
    check(page, "35-template-refused")
    page.locator("#subject").fill("{{名前}} 様へのご案内")
    page.locator(".form-foot button").click()
    check(page, "36-template")
    page.get_by_role("link", name=words(page, "プレビュー", "Preview")).click()
    expect(page.frame_locator("iframe").get_by_text("山田 太郎 様")).to_be_visible()
    check(page, "37-preview")


def begin_with_the_template(page: Page, go: Go) -> None:
    go("/deliveries/new")
    page.get_by_role("button", name=words(page, "このテンプレートで始める", "Begin with this template")).click()
    page.locator("#name").fill("4月の案内")
    page.locator("#segment_id").select_option(label="お客様")
    page.locator("#from_address").select_option("news@sakura.example")
    page.locator("#count_clicks").check()
    check(page, "38-delivery-form")
    page.locator(".form-foot button").click()
    expect(
        page.get_by_role("heading", name=words(page, "クリック(参考値)", "Clicks (reference values)"))
    ).to_be_visible()
    expect(page.get_by_role("rowheader", name="https://www.sakura.example/")).to_be_visible()


def attach_a_file(page: Page) -> None:
    attach = page.get_by_role("button", name=words(page, "添付する", "Attach"), exact=True)
    page.locator("#file").set_input_files({"name": "x.exe", "mimeType": "application/pdf", "buffer": PDF})
    attach.click()
    expect(page.locator("#file-error")).to_be_visible()
    check(page, "39-attachment-refused")
    page.locator("#file").set_input_files({"name": "御見積書.pdf", "mimeType": "x/y", "buffer": PDF})
    attach.click()
    expect(page.get_by_role("link", name="御見積書.pdf", exact=True)).to_be_visible()
    check(page, "39-delivery-draft")


def send_and_look(page: Page) -> None:
    page.get_by_role(
        "link", name=words(page, "宛先と、除外されるアドレス・理由", "Who gets it, and who not and why")
    ).click()
    check(page, "40-audience")
    page.go_back()
    page.get_by_role("button", name=words(page, "内容を確定する", "Freeze the content")).click()
    check(page, "41-approved")
    page.locator("#typed_count").fill("1")
    page.get_by_role("button", name=words(page, "配信する", "Send"), exact=True).click()
    expect(page.get_by_role("button", name=words(page, "配信の指示を取り消す", "Take the order back"))).to_be_visible()
    check(page, "42-holding")
    page.get_by_role("link", name=words(page, "メールごとの結果", "What became of each mail")).click()
    expect(page.get_by_text("taro@yamada.example")).to_be_visible()
    check(page, "43-recipients")


async def add_segment(site: Site, tenant: TenantDb) -> None:
    """Everybody; the pages of segments are another domain's."""
    tree = '{"kind": "all", "of": []}'
    async with site.world.server.inside(tenant.database) as connection:
        await connection.execute("INSERT INTO segment (name, key, tree) VALUES ('お客様', 'お客様', $1::jsonb)", tree)


def enter(page: Page, site: Site, tenant: TenantDb) -> None:
    """Follow the set-up link in the language of this run."""
    link = site.url(tenant, f"/setup?token={setup_token(tenant.name)}")
    page.goto(link)
    if words(page, "ja", "en") == "en":
        page.get_by_role("button", name="English").click()
        page.goto(link)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password_repeated").fill(PASSWORD)
    page.locator("main form button.primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(words(page, "ダッシュボード", "Dashboard"))
