"""Scripts, header breaks and placeholders in every text field of every model of the API: none of them becomes more than
text, on any page, in any mail and in any export. The fields are taken from the models of the routes."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from elink_app.web.app import ROUTERS
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.deliveries.test_composed import composed
from tests.tenant_app.hostile.routes import routes
from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import Bench

pytestmark = pytest.mark.postgres

# Ends an attribute, a tag, a script and a comment; asks template engines to compute; short enough for most fields.
SIGN = "zq9"
BREAKS = ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x85", "\u2028", "\u2029")
_NUMBERS = itertools.count(100)


def payload() -> str:
    """A text that names itself, so that one that came through can be told from the others."""
    return f"'\"--><{SIGN} {SIGN}x={next(_NUMBERS)}>{{7*7}}${{7*7}}"


class Finds(HTMLParser):
    """Elements and attributes of ours in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [name for name in (tag, *(name for name, _ in attrs)) if name.startswith(SIGN)]


# One right body for each model that makes something; every text field of it is then made hostile. In this order.
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/attributes": {"key": "own", "label": "独自", "type": "choice", "choices": ["a", "b"], "in_list": True},
    "/api/v1/roles": {"name": "役", "permissions": ["addresses:view"]},
    "/api/v1/user-fields": {"key": "staff", "label": "社員番号", "kind": "text"},
    "/api/v1/users": {"email": "u@example.jp", "display_name": "佐藤", "roles": [1], "attributes": {"staff": "x"}},
    "/api/v1/tokens": {"name": "x", "permissions": ["addresses:view"], "days": 1},
    "/api/v1/addresses": {
        "name": "山田", "company": "会社", "postal_address": "住所", "notes": "備考", "tags": ["客"],
        "emails": ["y@example.jp"], "phone": "03", "kana": "ヤ", "postal_code": "1",
    },
    "/api/v1/tags": {"name": "札"},
    "/api/v1/consents/y@example.jp": {"kind": "given", "how": "x", "source": "x", "wording": "x"},
    "/api/v1/suppressions": {"email": "z@example.jp", "detail": "x"},
    "/api/v1/settings/sender-addresses": {"email": SENDER, "name": "名"},
    "/api/v1/segments": {"name": "皆", "tree": {"kind": "all", "of": []}},
    "/api/v1/templates": {"name": "型", "subject": "件", "text_body": "本文", "layout": "html", "source": "<p>あ</p>"},
    "/api/v1/deliveries": {
        "name": "配", "category": "notice", "from_name": "名", "from_address": SENDER, "segment_id": 1, "subject": "件",
        "text_body": "本文 {{名前}} {{会社}} {{住所}}", "layout": "html", "source": "<p>{{名前}} {{会社}} {{住所}}</p>",
    },
    "/api/v1/utilities": {"request": {"program": "edit", "field": "company", "value": "x"}},
}  # fmt: skip
# What these take is no text of a person's: numbers, files, codes of ours, passwords.
NO_TEXT = {
    "/api/v1/exports", "/api/v1/duplicates/merge", "/api/v1/segments/preview", "/api/v1/settings/dkim-keys",
    "/api/v1/account/factors/recovery-codes", "/api/v1/account/factors/totp/remove", "/api/v1/account/password",
    "/api/v1/master-offer", "/api/v1/master-offer/accept",
}  # fmt: skip


def models() -> dict[str, type[BaseModel]]:
    """The model of the body of every POST route of the API without an id in its path."""
    found = {}
    for router in ROUTERS:
        for route in router.routes:
            if not isinstance(route, APIRoute) or "POST" not in route.methods or not route.path.startswith("/api/"):
                continue
            kind = route.body_field.field_info.annotation if route.body_field else None
            if isinstance(kind, type) and issubclass(kind, BaseModel) and not re.search(r"{\w+_id}", route.path):
                found[route.path.replace("{email}", "y@example.jp")] = kind
    return found


def hostile(model: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """The body with a payload in every field that the model lets it into."""
    taken = dict(body)
    for name, value in body.items():
        tried: Any = None
        if isinstance(value, str):
            tried = payload()
        elif isinstance(value, list) and value and isinstance(value[0], str):
            tried = [payload(), *value[1:]]
        elif isinstance(value, dict):
            tried = {key: payload() if isinstance(inner, str) else inner for key, inner in value.items()}
            if "program" in value:
                tried |= {"program": value["program"], "field": value["field"]}
        if tried is None:
            continue
        if isinstance(value, str) and "{{" in value:
            tried = value + tried.replace("{", "").replace("}", "")
        try:
            model.model_validate({**taken, name: tried})
        except ValidationError:
            continue
        taken[name] = tried
    return taken


async def test_no_field_is_more_than_text(world: World) -> None:
    tenant = await world.tenant(display_name=f"会社 {payload()}")
    me = await world.master(tenant)
    office = Office(world, tenant, me, 1)
    known = models()
    assert set(known) == set(BODIES) | NO_TEXT, "a model that is new: add a right body, or say that it takes no text"
    rules = {"organisation": payload(), "postal_address": payload(), "contact": payload(), "approval_required": False}
    await office.call("PUT", "/settings/sender", json=rules)
    for path, body in BODIES.items():
        made = await me.api("POST", path, json=hostile(known[path], body))
        assert made.is_success, (path, made.text)
    await office.call("POST", "/deliveries/1/request")
    await office.call("POST", "/deliveries/1/release", json={"when": "now", "typed_count": 1})
    directory = world.parts.directory.get(tenant.name)
    assert directory is not None
    await office.call("POST", "/exports", 202, json={})
    bench = Bench(world, directory)
    await bench.work()

    seen: set[str] = set()
    pages = 0
    for method, path in routes():
        if method != "GET" or path.startswith("/api/"):
            continue
        where = re.sub(r"{(\w+)}", lambda part: "y@example.jp" if part[1] == "email" else "1", path)
        for query in ("", f"?q={SIGN}&email=y@example.jp&address=1&id=1&id=1"):
            answer = await me.get(where + query)
            assert answer.status_code < 500, where
            if not answer.headers.get("content-type", "").startswith("text/html"):
                continue
            pages += 1
            assert Finds(answer.text).found == [], where
            assert f"<{SIGN}" not in answer.text, where
            seen |= set(re.findall(rf"{SIGN}x=(\d+)", answer.text))
    assert pages > 80
    # Else it would be a walk through pages that show nothing of it.
    assert len(seen) > 20

    mails = await composed(office, 1)
    (mail,) = mails.values()
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert Finds(html.get_content()).found == []
    assert SIGN in html.get_content()
    assert SIGN in text.get_content()
    assert "49" not in re.sub(r"[0-9a-f]{20,}|x=\d+", "", text.get_content())


async def test_no_field_begins_a_header(world: World) -> None:
    """Breaks in everything that a header is made of: refused, or one line in the mail."""
    tenant = await world.tenant()
    office = Office(world, tenant, await world.master(tenant), 1)
    known = models()
    for path in ("/api/v1/settings/sender-addresses", "/api/v1/users", "/api/v1/deliveries", "/api/v1/templates"):
        for name, value in BODIES[path].items():
            if not isinstance(value, str) or name in ("text_body", "source"):
                continue
            for broken in BREAKS:
                body = {**BODIES[path], name: f"{value}{broken}Bcc: victim@evil.example"}
                with pytest.raises(ValidationError):
                    known[path].model_validate(body)

    # Texts of several lines reach a subject by way of a placeholder only.
    await office.call("POST", "/settings/sender-addresses", 201, json={"email": SENDER, "name": "名"})
    await office.rules()
    lines = "\n".join(("一", "Bcc: victim@evil.example", "", "<b>body</b>"))
    person = {"name": "=?utf-8?Q?=0d=0aBcc:_v@evil.example?=", "postal_address": lines, "emails": ["y@example.jp"]}
    await office.call("POST", "/addresses", 201, json=person)
    await office.call("POST", "/segments", 201, json=BODIES["/api/v1/segments"])
    made = await office.ready(subject="{{住所}}{{名前}}", from_name="=?utf-8?Q?=0aBcc:_v?=")
    # As if it had come by another way than a checked form.
    await office.sql("UPDATE address SET name = name || $1", "".join(BREAKS[1:3]) + "Bcc: victim@evil.example")
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    (mail,) = (await composed(office, made["id"])).values()
    assert "bcc" not in {name.lower() for name in mail.keys()}  # noqa: SIM118 - a message is no dict
    assert "victim@evil.example" in mail["Subject"]
    assert "\n" not in mail["Subject"]
    assert "<b>body" not in mail.get_content()
