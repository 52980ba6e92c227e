"""Every page that can be opened by its address alone goes through axe, from the table of routes: also the next one."""

from __future__ import annotations

import pytest
from elink_operator.database.model import TenantDb
from playwright.sync_api import Page

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.browser.test_deliveries import add_segment, enter
from tests.tenant_app.browser.test_pages import check, page, tenant
from tests.tenant_app.hostile.routes import routes
from tests.tenant_app.notices.test_notices import publish

__all__ = ["page", "tenant"]

# What needs something chosen before.
NOT_SHOWN = {"/consents", "/duplicates/merge", "/setup", "/welcome"}
# Where a user who is logged in is led on.
LEADS_ON = {"/login", "/login/second"}


def pages_by_address() -> list[str]:
    """Paths of pages without parameters; a dot is in those of pictures and files."""
    return sorted(
        {
            path
            for method, path in routes()
            if method == "GET" and not {"{", "."} & set(path) and not path.startswith("/api/")
        }
        - NOT_SHOWN
        - LEADS_ON
    )


@pytest.fixture
def filled(page: Page, site: Site, tenant: TenantDb) -> TenantDb:
    """A tenant with something in most lists."""
    enter(page, site, tenant)
    site.run(add_segment(site, tenant))
    site.run(publish(site.world, tenant))
    site.run(publish(site.world, tenant, "n2", type="Incident", title_ja="障害", title_en="Outage"))
    for number, name in enumerate(("山田 太郎", "山田 太朗")):
        page.goto(site.url(tenant, "/addresses/new"))
        page.locator("#name").fill(name)
        page.locator("#emails-0").fill(f"taro{number}@yamada.example")
        page.locator("#tags").fill("顧客")
        page.locator(".form-foot button").click()
    return tenant


def test_every_page(page: Page, site: Site, filled: TenantDb) -> None:
    paths = pages_by_address()
    assert len(paths) > 30
    manual = [f"/manual/{name}" for name in ("start", "addresses", "deliveries")]
    chosen = ["/notices/n1", "/notices/n2", *manual, "/manual?q=CSV", "/consents?email=taro0@yamada.example"]
    wrong = []
    for path in paths + chosen:
        answer = page.goto(site.url(filled, path))
        assert answer is not None
        assert answer.status == 200, (path, answer.status)
        try:
            check(page, "50" + path.replace("/", "-").replace("?", "-"))
        except AssertionError as error:
            wrong.append((path, str(error)))
    assert wrong == []
