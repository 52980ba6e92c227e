"""Both example tenants in a real browser over HTTPS: first log-in, work, log-out, no way across."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.live import Live

PASSWORD = "青空の下で毎朝パンを焼く"
TENANTS = ("aozora", "midori")


def master(live: Live, tenant: str) -> dict[str, str]:
    """The Secret from which the platform team reads the first log-in."""
    data = live.kubectl.json("get", "secret", "-n", "elink-system", f"elink-{tenant}-master")["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def log_in(page: Page, live: Live, tenant: str) -> None:
    """Log in as the master; the account is set up on the way when this is the first time."""
    first = master(live, tenant)
    live.wait_served(f"{tenant}.elink.localhost")
    page.goto(first["setup-url"])
    if page.locator("input[name=password_repeated]").count():
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("input[name=password_repeated]").fill(PASSWORD)
        page.locator("main form button, form.stack button").first.click()
    else:
        page.goto(f"https://{tenant}.elink.localhost:{live.https_port}/login")
        page.locator("input[name=email]").fill(first["email"])
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("form.stack button").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ダッシュボード")


@pytest.mark.parametrize("tenant", TENANTS)
def test_master_sets_up_works_and_leaves(browser: BrowserContext, live: Live, tenant: str) -> None:
    page = browser.new_page()
    log_in(page, live, tenant)
    assert page.url.startswith(f"https://{tenant}.elink.localhost:{live.https_port}/")

    page.goto(page.url.split("?")[0].rstrip("/") + "/addresses/new")
    page.locator("input[name=name]").fill(f"山田 花子 {tenant}")
    page.locator("input[name=kana]").fill("ヤマダ ハナコ")
    page.locator("form.form button.primary").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"山田 花子 {tenant}")

    page.get_by_role("button", name="ログアウト").click()
    page.goto(f"https://{tenant}.elink.localhost:{live.https_port}/addresses")
    expect(page.locator("input[name=password]")).to_be_visible()

    used = browser.new_page()
    used.goto(master(live, tenant)["setup-url"])
    assert used.locator("input[name=password_repeated]").count() == 0, "the one-time link works twice"


def test_a_session_is_worthless_at_the_neighbours(browser: BrowserContext, live: Live) -> None:
    page = browser.new_page()
    log_in(page, live, "aozora")
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in browser.cookies(page.url))
    assert "__Host-" in cookies
    status, _, body = live.get("aozora.elink.localhost", "/addresses", headers={"Cookie": cookies})
    assert status == 200
    status, headers, body = live.get("midori.elink.localhost", "/addresses", headers={"Cookie": cookies})
    assert status in {302, 303, 401}, body
    assert "aozora" not in body
    assert "/login" in headers.get("location", "/login")


def test_the_certificate_is_checked(browser: BrowserContext, live: Live) -> None:
    """A name that the gateway's certificate does not cover is refused: the tests above trust nothing blindly."""
    page = browser.new_page()
    with pytest.raises(Exception, match="ERR_CERT"):
        page.goto(f"https://a.b.elink.localhost:{live.https_port}/login")
