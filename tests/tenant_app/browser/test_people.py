"""Users, roles, tokens, second factor and audit log in a real browser; every page goes through axe."""

from __future__ import annotations

import pyotp
from elink_operator.database.model import TenantDb
from playwright.sync_api import Page, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.browser.test_pages import check, page, tenant, words
from tests.tenant_app.people.support import invite, link_for, make_role, run
from tests.tenant_app.support import PASSWORD

__all__ = ["page", "tenant"]


def log_in(page: Page, site: Site, tenant: TenantDb) -> None:
    page.goto(site.url(tenant, "/login"))
    if words(page, "ja", "en") == "en":
        page.get_by_role("button", name="English").click()
        page.goto(site.url(tenant, "/login"))
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button.primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(words(page, "ダッシュボード", "Dashboard"))


def test_the_people_of_a_tenant(page: Page, site: Site, tenant: TenantDb) -> None:
    site.run(site.world.master(tenant))
    log_in(page, site, tenant)
    page.goto(site.url(tenant, "/roles"))
    check(page, "30-roles-empty")
    page.goto(site.url(tenant, "/roles/new"))
    page.locator("#name").fill("営業")
    page.get_by_label(words(page, "アドレスの閲覧", "See addresses")).check()
    check(page, "31-role-form")
    page.locator(".form-foot button").click()
    check(page, "32-roles")
    page.goto(site.url(tenant, "/user-fields"))
    page.locator("#label").fill("勤務地")
    page.locator("#key").fill("Not a key")
    page.locator("main form button.primary").click()
    check(page, "33-field-refused")
    page.locator("#key").fill("office")
    page.locator("main form button.primary").click()
    check(page, "34-fields")
    page.goto(site.url(tenant, "/users/new"))
    page.locator("#email").fill("aya@user.example")
    page.get_by_label("勤務地").fill("東京")
    page.get_by_label("営業").check()
    check(page, "35-user-form")
    page.locator(".form-foot button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("aya@user.example")
    check(page, "36-user-invited")
    page.goto(site.url(tenant, "/users"))
    check(page, "37-users")
    page.goto(site.url(tenant, "/account/tokens"))
    page.locator("#name").fill("基幹システム")
    page.locator("main form button.primary").click()
    expect(page.locator(".secret")).to_contain_text("elk_")
    check(page, "38-tokens")
    page.goto(site.url(tenant, "/account/second-factor"))
    assert page.locator(".qr").evaluate("image => image.naturalWidth") > 100
    check(page, "39-second-factor")
    secret = page.locator("code.secret").inner_text()
    page.locator("#code").fill(pyotp.TOTP(secret).now())
    page.locator("#current_password").fill(PASSWORD)
    page.locator("main form button.primary").click()
    expect(page.locator(".codes code")).to_have_count(10)
    check(page, "40-recovery-codes")
    recovery = page.locator(".codes code").first.inner_text()
    for path, name in (("/settings/security", "41-rules"), ("/settings/master", "42-transfer"), ("/audit", "43-audit")):
        page.goto(site.url(tenant, path))
        check(page, name)
    expect(page.locator("tbody tr")).not_to_have_count(0)
    page.get_by_role("button", name=words(page, "ログアウト", "Log out")).first.click()
    page.goto(site.url(tenant, "/login/forgotten"))
    check(page, "44-forgotten")
    token = site.run(link_for(site.world, tenant, "aya@user.example"))
    page.goto(site.url(tenant, f"/welcome?token={token}"))
    check(page, "45-welcome")
    page.goto(site.url(tenant, "/login"))
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button.primary").click()
    page.locator("#code").wait_for()
    check(page, "46-second")
    page.locator("#code").fill(recovery)
    page.locator("main form button.primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(words(page, "ダッシュボード", "Dashboard"))


def test_a_refused_invitation_and_what_is_asked_before_deleting(page: Page, site: Site, tenant: TenantDb) -> None:
    master = site.run(site.world.master(tenant))
    role = site.run(make_role(master, "addresses:view", name="営業"))
    user_id = site.run(invite(master, "aya@user.example", role))
    reply = "550 5.1.1 <aya@user.example>: Recipient address rejected: User unknown in virtual mailbox table"
    site.run(run(site.world, tenant, "UPDATE outbox_mail SET done_at = now(), error = $1", reply))
    log_in(page, site, tenant)
    page.goto(site.url(tenant, "/users"))
    check(page, "60-users-refused")
    page.get_by_role("link", name="aya@user.example").click()
    expect(page.get_by_role("alert")).to_contain_text(reply)
    check(page, "61-user-refused")
    page.goto(site.url(tenant, f"/roles/{role}/delete"))
    expect(page.locator("main form")).to_have_count(0)
    check(page, "62-role-in-use")
    page.goto(site.url(tenant, f"/users/{user_id}"))
    page.get_by_role("link", name=words(page, "完全に削除", "Delete for good")).click()
    check(page, "63-user-delete")
    page.get_by_role("button", name=words(page, "削除", "Delete")).click()
    expect(page.get_by_role("status").first).to_be_visible()
    page.goto(site.url(tenant, "/user-fields"))
    page.locator("#label").fill("勤務地")
    page.locator("#key").fill("office")
    # Pressed twice.
    page.locator("main form button.primary").dblclick()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.locator("tbody a.danger").click()
    check(page, "64-field-delete")
    page.get_by_role("button", name=words(page, "削除", "Delete")).click()
    check(page, "65-field-deleted")
    page.get_by_role("button", name=words(page, "「勤務地」を元に戻す", "Bring 勤務地 back")).click()
    expect(page.locator("tbody tr")).to_have_count(1)
