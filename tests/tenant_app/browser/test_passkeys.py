"""Passkeys with the browser's own virtual device: made, used, refused; and the pages without script."""

from __future__ import annotations

from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, Page, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.browser.test_pages import check, page, tenant, words
from tests.tenant_app.browser.test_people import log_in
from tests.tenant_app.people.support import one
from tests.tenant_app.support import PASSWORD

__all__ = ["page", "tenant"]


def plug_in(page: Page) -> tuple[object, str]:
    """A virtual device with a finger on it; the CDP session and its id."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    return session, session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]


def begin(page: Page, site: Site, tenant: TenantDb) -> None:
    page.goto(site.url(tenant, "/account/second-factor"))
    page.locator("#name").fill("ノートパソコン")
    page.locator("#passkey-password").fill(PASSWORD)
    page.get_by_role("button", name=words(page, "パスキーを追加", "Add a passkey")).click()


def leave(page: Page) -> None:
    page.get_by_role("button", name=words(page, "ログアウト", "Log out")).first.click()
    expect(page.locator("#email")).to_be_visible()


def test_a_passkey_from_first_to_last(page: Page, site: Site, tenant: TenantDb) -> None:
    site.run(site.world.master(tenant))
    session, device = plug_in(page)
    log_in(page, site, tenant)
    dashboard = page.get_by_role("heading", level=1)
    begin(page, site, tenant)
    expect(page.locator(".codes code")).to_have_count(10)
    recovery = page.locator(".codes code").first.inner_text()
    check(page, "60-passkey-added")
    # The device has one of this account already.
    begin(page, site, tenant)
    expect(page.locator('[data-passkey-text="known"]')).to_be_visible()
    check(page, "61-passkey-known")
    page.goto(site.url(tenant, "/account/second-factor"))
    page.get_by_role("link", name="ノートパソコン").click()
    check(page, "62-passkey")

    leave(page)
    check(page, "63-login")
    start = words(page, "パスキーでログイン", "Log in with a passkey")
    page.get_by_role("button", name=start).click()
    expect(dashboard).to_have_text(words(page, "ダッシュボード", "Dashboard"))
    assert site.run(one(site.world, tenant, "SELECT last_used_at IS NOT NULL FROM passkey"))

    # After the password it is asked for, or a recovery code.
    leave(page)
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button.primary").click()
    page.locator("#code").wait_for()
    check(page, "64-second")
    page.get_by_role("button", name=words(page, "パスキーを使う", "Use a passkey")).click()
    expect(dashboard).to_have_text(words(page, "ダッシュボード", "Dashboard"))

    # A finger that the device does not know: nobody gets in, and the page says what to do.
    leave(page)
    session.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})  # type: ignore[attr-defined]
    page.get_by_role("button", name=start).click()
    expect(page.locator('[data-passkey-text="failed"]')).to_be_visible()
    check(page, "65-passkey-failed")
    session.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})  # type: ignore[attr-defined]
    page.get_by_role("button", name=words(page, "もう一度試す", "Try again")).click()
    expect(dashboard).to_have_text(words(page, "ダッシュボード", "Dashboard"))

    # The device is lost.
    leave(page)
    session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": device})  # type: ignore[attr-defined]
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button.primary").click()
    page.locator("#code").fill(recovery)
    page.locator("main form button.primary").click()
    expect(dashboard).to_have_text(words(page, "ダッシュボード", "Dashboard"))


def test_without_script_the_page_says_so(site: Site, chromium: Browser, tenant: TenantDb) -> None:
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url(tenant, "/login"))
    page.locator('form[action="/login/passkey/start"] button').click()
    expect(page.locator("noscript .notice")).to_be_visible()
    expect(page.locator("noscript .notice")).to_contain_text("JavaScript")
    expect(page.locator("#passkey-again")).to_be_hidden()
    page.get_by_role("link", name="別の方法でログイン").click()
    expect(page.locator("#password")).to_be_visible()
    context.close()


def test_a_browser_without_passkeys_says_so(site: Site, chromium: Browser, tenant: TenantDb) -> None:
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(site.url(tenant, "/login"))
    page.locator('form[action="/login/passkey/start"] button').click()
    expect(page.locator('[data-passkey-text="unsupported"]')).to_be_visible()
    context.close()
