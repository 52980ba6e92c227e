"""Templates that want something fetched, and templates that want the server's stack, time or memory."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from elink_app.templates.layout import Layout, LayoutError
from elink_app.templates.rendering import render_confined

from tests.tenant_app.deliveries.conftest import office  # noqa: F401 - a fixture
from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.deliveries.test_composed import composed

HEAVY = {
    "stack of the style sheets' inliner": (Layout.HTML, "<b><i>" * 15_000 + "a"),
    "stack by tables": (Layout.HTML, "<table><tr><td>" * 10_000),
    "stack of MJML": (Layout.MJML, f"<mjml><mj-body>{'<mj-wrapper>' * 7900}{'</mj-wrapper>' * 7900}</mj-body></mjml>"),
    "time": (Layout.HTML, "<div>" * 39_000 + "a"),
}


@pytest.mark.parametrize("name", HEAVY)
async def test_no_template_brings_the_server_down(name: str) -> None:
    layout, source = HEAVY[name]
    assert len(source) <= 200_000
    with pytest.raises(LayoutError, match="html_heavy"):
        await render_confined(layout, source, base_url="https://a.example")


async def test_entities_are_not_expanded() -> None:
    source = '<!DOCTYPE x [<!ENTITY a "{}">]><mjml><mj-body><mj-raw>{}</mj-raw></mj-body></mjml>'
    try:
        made = await render_confined(Layout.MJML, source.format("ha" * 500, "&a;" * 5000), base_url="https://a.example")
    except LayoutError:
        return
    assert len(made) < 100_000


@dataclass
class Trap:
    """A port that nothing has a reason to speak to, and what spoke to it all the same."""

    port: int
    callers: list[bytes] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def trap() -> Iterator[Trap]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Trap(server.getsockname()[1])

        def listen() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.settimeout(1)
                    made.callers.append(caller.recv(200))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield made
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_the_trap_catches(trap: Trap) -> None:
    with socket.create_connection(("127.0.0.1", trap.port)) as caller:
        caller.sendall(b"GET /x")
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(1) == b""
    assert trap.callers == [b"GET /x"]


def sources(trap: Trap) -> list[tuple[str, str]]:
    """Every way to name something to be loaded."""
    u = trap.url
    html = (
        f'<link rel="stylesheet" href="{u("css")}"><style>@import url({u("import")}); p {{background:url({u("bg")})}}'
        f'</style><p style="background:url({u("inline")})">本文</p><img src="{u("img")}"><a href="{u("a")}">見る</a>'
        f'<img srcset="{u("set")} 2x"><table background="{u("table")}"><tr><td>x</td></tr></table>'
        f'<iframe src="{u("frame")}"></iframe><object data="{u("object")}"></object><base href="{u("")}">'
        f'<video poster="{u("poster")}" src="{u("video")}"></video><input type="image" src="{u("input")}">'
    )
    mjml = (
        f'<mjml><mj-head><mj-font name="x" href="{u("font")}"/></mj-head><mj-body background-url="{u("body")}">'
        f'<mj-section background-url="{u("section")}"><mj-column><mj-image src="{u("image")}"/>'
        f'<mj-text><link rel="stylesheet" href="{u("css2")}">本文</mj-text></mj-column></mj-section></mj-body></mjml>'
    )
    return [("html", html), ("mjml", mjml)]


@pytest.mark.postgres
async def test_nothing_that_a_template_names_is_fetched(office: Office, trap: Trap) -> None:  # noqa: F811
    for layout, source in sources(trap):
        made = await office.call(
            "POST", "/templates", 201,
            json={"name": layout, "subject": trap.url("subject"), "layout": layout, "source": source},
        )  # fmt: skip
        for path in ("preview", "preview/frame"):
            assert (await office.me.get(f"/templates/{made['id']}/{path}")).status_code == 200
        ready = await office.ready(layout=layout, source=source, text_body="", from_name=trap.url("from"))
        assert (await office.me.get(f"/deliveries/{ready['id']}/content/frame")).status_code == 200
        await office.call("POST", f"/deliveries/{ready['id']}/test", 202, json={"to": ["me@a.example"]})
        await office.call("POST", f"/deliveries/{ready['id']}/release", json={"when": "now"})
        assert await composed(office, ready["id"])
    include = f'<mjml><mj-body><mj-include path="{trap.url("include")}"/></mj-body></mjml>'
    await office.call("POST", "/templates", 422, json={"name": "x", "layout": "mjml", "source": include})
    assert trap.callers == []
