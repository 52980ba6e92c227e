"""The numbered steps of the manual, done in a browser with the labels that the manual itself names: a button that is
renamed there or here breaks them. With `--update-golden` every step leaves the picture that the manual shows."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import elink_app
import pytest
from elink_app.manual import library
from elink_operator.database.model import TenantDb
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.tenant_app.browser.conftest import Site
from tests.tenant_app.deliveries.support import RULES, SENDER
from tests.tenant_app.people.support import member
from tests.tenant_app.support import PASSWORD, setup_token
from tests.tenant_app.transfer.support import Bench

_PICTURES = Path(elink_app.__file__).parent / "manual" / "pictures"
_MOST_BYTES = 60_000
_MOST_BYTES_OF_ALL = 1_500_000
_MOST_MILLISECONDS = 60_000
_SIZE = {"width": 900, "height": 640}


def steps(language: str, page: str, anchor: str) -> list[list[str]]:
    """The labels in bold of every numbered step below a heading."""
    (file,) = [
        one
        for one in resources.files("elink_app.manual").joinpath("pages", language).iterdir()
        if one.name[3:] == f"{page}.md"
    ]
    part = file.read_text("utf-8").split(f"{{#{anchor}}}")[1].split("\n## ")[0]
    return [re.findall(r"\*\*(.+?)\*\*", line) for line in re.findall(r"^\d\. .*$", part, re.M)]


def lists() -> set[tuple[str, str]]:
    """(page, anchor) of every part of the manual that has numbered steps."""
    found = set()
    for file in resources.files("elink_app.manual").joinpath("pages", "ja").iterdir():
        for part in re.split(r"(?m)^##? ", file.read_text("utf-8"))[1:]:
            if re.search(r"(?m)^1\. ", part):
                found.add((file.name[3:-3], part.split("{#")[1].split("}")[0]))
    return found


@dataclass
class Reader:
    """Somebody who does what the manual says."""

    page: Page
    site: Site
    tenant: TenantDb
    language: str
    writes: bool
    taken: int = 0

    def go(self, path: str) -> None:
        self.page.goto(self.site.url(self.tenant, path))

    def press(self, label: str) -> None:
        self.page.locator("main").get_by_role("button", name=label, exact=True).click()

    def picture(self, name: str, page: Page | None = None) -> None:
        """Take the picture of a step; without `--update-golden` it must be there."""
        self.taken += 1
        path = _PICTURES / self.language / f"{name}.webp"
        if self.writes:
            shown = page or self.page
            session = shown.context.new_cdp_session(shown)
            taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 55})
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(taken["data"]))
        assert path.stat().st_size < _MOST_BYTES, path

    def heading(self, label: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(label)


def log_in_first(reader: Reader) -> None:
    one, two, three = steps(reader.language, "start", "first")
    link = f"/setup?token={setup_token(reader.tenant.name)}"
    reader.go(link)
    if reader.language == "en":
        reader.page.get_by_role("button", name="English").click()
        reader.go(link)
    assert one == []
    reader.picture("first-1")
    reader.page.locator("#password").fill(PASSWORD)
    reader.page.locator("#password_repeated").fill(PASSWORD)
    reader.picture("first-2")
    reader.press(two[0])
    reader.heading(three[0])
    reader.picture("first-3")


def import_addresses(reader: Reader) -> None:
    one, two, three = steps(reader.language, "transfer", "import")
    known = reader.site.world.parts.directory.get(reader.tenant.name)
    assert known is not None
    bench = Bench(reader.site.world, known)
    reader.go("/imports")
    reader.heading(one[0])
    content = (
        "氏名,会社,メール\r\n山田 太郎,やまだ商店,taro@yamada.example\r\n佐藤 花子,さくら工業,hanako@sakura.example\r\n"
    )
    file = {"name": "名簿.csv", "mimeType": "text/csv", "buffer": content.encode("cp932")}
    reader.page.locator("#file").set_input_files(file)
    reader.picture("import-1")
    reader.page.locator(".form-foot button").click()
    expect(reader.page.locator("main").get_by_role("button", name=two[0], exact=True)).to_be_visible()
    reader.picture("import-2")
    reader.press(two[0])
    reader.page.wait_for_load_state()
    reader.site.run(bench.work())
    reader.page.reload()
    run = reader.page.locator("main").get_by_role("button", name=three[0], exact=True)
    run.scroll_into_view_if_needed()
    reader.picture("import-3")
    run.click()
    reader.site.run(bench.work())
    reader.go("/jobs")
    reader.heading(three[1])
    reader.go("/addresses")
    expect(reader.page.get_by_text("山田 太郎")).to_be_visible()


def send(reader: Reader, approver: BrowserContext) -> None:
    one, two, three, four = steps(reader.language, "deliveries", "send")
    cookies = reader.site.run(prepare(reader))
    approver.add_cookies(
        [{"name": name, "value": value, "url": reader.site.url(reader.tenant)} for name, value in cookies.items()]
    )
    reader.go("/deliveries")
    reader.heading(one[0])
    reader.go("/deliveries/new")
    reader.page.locator("#name").fill("4月の案内")
    reader.page.locator("#segment_id").select_option(label="お客様")
    reader.page.locator("#from_address").select_option(SENDER)
    reader.page.locator("#subject").fill("{{名前}} 様へのご案内")
    reader.page.locator("#text_body").fill("{{名前}} 様\nいつもありがとうございます。")
    reader.picture("send-1")
    reader.page.locator(".form-foot button").click()
    test = reader.page.locator("main").get_by_role("button", name=two[0], exact=True)
    test.scroll_into_view_if_needed()
    reader.picture("send-2")
    test.click()
    here = reader.page.url.partition("?")[0]
    reader.page.locator("form[action$='/request'] button").click()
    other = approver.new_page()
    other.goto(here)
    approve, send_back = (other.get_by_role("button", name=label, exact=True) for label in three)
    expect(send_back).to_be_visible()
    approve.scroll_into_view_if_needed()
    reader.picture("send-3", other)
    approve.click()
    reader.page.goto(here)
    reader.press(four[0])
    expect(reader.page.get_by_role("button", name=four[1], exact=True)).to_be_visible()
    reader.picture("send-4")


async def prepare(reader: Reader) -> dict[str, str]:
    """A sender, a segment, and a second user who approves; the cookies of that one."""
    world, tenant = reader.site.world, reader.tenant
    me = world.browser(tenant.host)
    assert (await me.log_in(tenant)).status_code == 303
    for method, path, body in (
        ("POST", "/settings/sender-addresses", {"email": SENDER, "name": "さくら商店"}),
        ("PUT", "/settings/sender", {**RULES, "approval_required": True}),
        ("POST", "/segments", {"name": "お客様", "tree": {"kind": "all", "of": []}}),
    ):
        answer = await me.api(method, f"/api/v1{path}", json=body)
        assert answer.is_success, answer.text
    browser, _, _ = await member(world, tenant, me, "addresses:view", "deliveries:draft", "deliveries:approve")
    language = {"__Host-elink-language": reader.language}
    return {one.name: one.value or "" for one in browser.client.cookies.jar} | language


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_manual_does_what_it_says(
    site: Site, chromium: Browser, language: str, request: pytest.FixtureRequest
) -> None:
    expect.set_options(timeout=_MOST_MILLISECONDS)
    assert lists() == {("start", "first"), ("transfer", "import"), ("deliveries", "send")}
    tenant = site.run(site.world.tenant("sakura"))
    contexts = [chromium.new_context(ignore_https_errors=True, viewport=_SIZE) for _ in range(2)]
    for context in contexts:
        context.set_default_timeout(_MOST_MILLISECONDS)
    writes = bool(request.config.getoption("--update-golden"))
    reader = Reader(contexts[0].new_page(), site, tenant, language, writes)
    log_in_first(reader)
    import_addresses(reader)
    send(reader, contexts[1])
    # A step that is added to the manual is done here too.
    assert reader.taken == sum(len(steps(language, page, anchor)) for page, anchor in lists())
    # The pictures are in the manual, and nothing else lies beside them.
    library.pages.cache_clear()
    library.picture.cache_clear()
    for page, _ in lists():
        reader.go(f"/manual/{page}")
        for image in reader.page.locator("article img").all():
            assert image.get_attribute("alt")
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("element => element.naturalWidth") == _SIZE["width"]
    assert len(list((_PICTURES / language).iterdir())) == reader.taken
    assert sum(one.stat().st_size for one in _PICTURES.rglob("*.webp")) < _MOST_BYTES_OF_ALL
    for context in contexts:
        context.close()
