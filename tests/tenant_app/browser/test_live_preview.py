"""A template is shown while it is written; without script, at the press of a button."""

from __future__ import annotations

import re

from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, Page, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.browser.test_deliveries import enter
from tests.tenant_app.browser.test_pages import check, page, tenant
from tests.tenant_app.support import PASSWORD

__all__ = ["page", "tenant"]

NAME = "山田 太郎"
# A clock for the page that goes on when `window.due` is called.
STOPPED_CLOCK = """
window.setTimeout = (run) => { window.due = run; return 1; };
window.clearTimeout = () => { window.due = null; };
"""


def test_while_it_is_written(page: Page, site: Site, tenant: TenantDb) -> None:
    enter(page, site, tenant)
    page.goto(site.url(tenant, "/templates"))
    page.goto(site.url(tenant, "/templates/new"))
    page.locator("#text_body").fill("{{名前}} 様")
    frame = page.frame_locator("iframe[name=live-preview]")
    expect(frame.get_by_text(f"{NAME} 様")).to_be_visible()
    page.locator("#layout").select_option("html")
    page.locator("#source").fill("<p style='color:#aa0000'>{{名前}} 殿</p><script>document.body.remove()</script>")
    shown = frame.get_by_text(f"{NAME} 殿")
    expect(shown).to_be_visible()
    expect(shown).to_have_css("color", "rgb(170, 0, 0)")
    expect(page.locator("#source")).to_be_focused()
    check(page, "51-live-preview")
    # Previews are no steps of the browser's history.
    page.go_back()
    expect(page).to_have_url(site.url(tenant, "/templates"))


def test_a_preview_that_becomes_due_does_not_take_the_place_of_a_save(page: Page, site: Site, tenant: TenantDb) -> None:
    page.add_init_script(STOPPED_CLOCK)
    enter(page, site, tenant)
    page.goto(site.url(tenant, "/templates/new"))
    page.locator("#name").fill("月次の案内")
    page.locator("#subject").fill("ご案内")
    page.locator("#text_body").fill("{{名前}} 様")
    assert page.evaluate("typeof window.due") == "function"
    page.evaluate("document.querySelector('.form-foot button').click(); window.due?.();")
    expect(page).to_have_url(re.compile(r"/templates/[0-9]+"))


def test_without_script(site: Site, chromium: Browser, tenant: TenantDb) -> None:
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    page = context.new_page()
    site.run(site.world.master(tenant))
    page.goto(site.url(tenant, "/login"))
    page.locator("#email").fill(tenant.master_email)
    page.locator("#password").fill(PASSWORD)
    page.locator("main form button.primary").first.click()
    page.goto(site.url(tenant, "/templates/new"))
    page.locator("#text_body").fill("{{名前}} 様")
    page.locator("button[data-live-preview]").click()
    expect(page.frame_locator("iframe[name=live-preview]").get_by_text(f"{NAME} 様")).to_be_visible()
    expect(page.locator("#text_body")).to_have_value("{{名前}} 様")
    context.close()
