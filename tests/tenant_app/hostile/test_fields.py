"""Scripts, header breaks, placeholders and formulas in every text field of every model of the API, when something is
made and when it is changed: none of them becomes more than text, on any page, in any mail and in any export. The fields
are taken from the models of the routes."""

from __future__ import annotations

import csv
import io
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from elink_app.spreadsheet import FORMULA_STARTS
from elink_app.web.app import ROUTERS
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.deliveries.test_composed import composed
from tests.tenant_app.hostile.routes import routes
from tests.tenant_app.passkeys.test_passkeys import add
from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import Bench

pytestmark = pytest.mark.postgres

# Is a formula to a spreadsheet; ends an attribute, a tag, a script and a comment; asks template engines to compute;
# short enough for most fields.
SIGN = "zq9"
BREAKS = ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x85", "\u2028", "\u2029")
_NUMBERS = itertools.count(100)


def payload() -> str:
    """A text that names itself, so that one that came through can be told from the others."""
    return f"=1+'\"--><{SIGN} {SIGN}x={next(_NUMBERS)}>{{97*97}}${{97*97}}"


class Finds(HTMLParser):
    """Elements and attributes of ours in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [name for name in (tag, *(name for name, _ in attrs)) if name.startswith(SIGN)]


# One right body for each model that makes or changes something; every text field of it is made hostile. In this order.
BODIES: dict[str, dict[str, Any]] = {
    "POST /api/v1/attributes": {
        "key": "own", "label": "独自", "type": "choice", "choices": ["a", "b"], "in_list": True,
    },
    "POST /api/v1/roles": {"name": "役", "permissions": ["addresses:view"]},
    "POST /api/v1/user-fields": {"key": "staff", "label": "社員番号", "kind": "text"},
    "POST /api/v1/users": {
        "email": "u@example.jp", "display_name": "佐藤", "roles": [1], "attributes": {"staff": "x"},
    },
    "POST /api/v1/tokens": {"name": "x", "permissions": ["addresses:view"], "days": 1},
    "POST /api/v1/addresses": {
        "name": "山田", "company": "会社", "postal_address": "住所", "notes": "備考", "tags": ["客"],
        "emails": ["y@example.jp"], "phone": "03", "kana": "ヤ", "postal_code": "1",
    },
    "POST /api/v1/tags": {"name": "札"},
    "POST /api/v1/consents/y@example.jp": {"kind": "given", "how": "x", "source": "x", "wording": "x"},
    "POST /api/v1/suppressions": {"email": "z@example.jp", "detail": "x"},
    "POST /api/v1/settings/sender-addresses": {"email": SENDER, "name": "名"},
    "POST /api/v1/segments": {"name": "皆", "tree": {"kind": "all", "of": []}},
    "POST /api/v1/templates": {
        "name": "型", "subject": "件", "text_body": "本文", "layout": "html", "source": "<p>あ</p>",
    },
    "POST /api/v1/deliveries": {
        "name": "配", "category": "notice", "from_name": "名", "from_address": SENDER, "segment_id": 1, "subject": "件",
        "text_body": "本文 {{名前}} {{会社}} {{住所}}", "layout": "html", "source": "<p>{{名前}} {{会社}} {{住所}}</p>",
    },
    "POST /api/v1/utilities": {"request": {"program": "edit", "field": "company", "value": "x"}},
}  # fmt: skip
BODIES |= {
    "PUT /api/v1/account/factors/passkeys/{passkey_id}": {"name": "鍵"},
    "PUT /api/v1/attributes/{attribute_id}": {"label": "独自", "choices": ["a", "b"], "in_list": True},
    "PUT /api/v1/roles/{role_id}": BODIES["POST /api/v1/roles"],
    "PUT /api/v1/users/{user_id}": {"display_name": "佐藤", "roles": [1], "attributes": {"staff": "x"}},
    "PUT /api/v1/addresses/{address_id}": BODIES["POST /api/v1/addresses"],
    "PUT /api/v1/tags/{tag_id}": {"name": "札"},
    "PUT /api/v1/settings/sender": {
        "organisation": "店", "postal_address": "住所", "contact": "電話", "approval_required": False,
    },
    "PUT /api/v1/segments/{segment_id}": BODIES["POST /api/v1/segments"],
    "PUT /api/v1/templates/{template_id}": BODIES["POST /api/v1/templates"],
    "PUT /api/v1/deliveries/{delivery_id}": BODIES["POST /api/v1/deliveries"],
    "PUT /api/v1/imports/{file_id}/plan": {
        "columns": ["name", "emails"], "consent_source": "店頭", "consent_wording": "文言",
    },
    "POST /api/v1/deliveries/{delivery_id}/reject": {"reason": "理由"},
    "POST /api/v1/suppressions/{suppression_id}/lift": {"why": "理由"},
}  # fmt: skip
# What these take is no text of a person's: numbers, files, codes of ours, passwords, e-mails.
NO_TEXT = {
    "POST /api/v1/exports", "POST /api/v1/duplicates/merge", "POST /api/v1/segments/preview",
    "POST /api/v1/settings/dkim-keys", "POST /api/v1/account/factors/recovery-codes",
    "POST /api/v1/account/factors/totp/remove", "POST /api/v1/account/password", "POST /api/v1/master-offer",
    "POST /api/v1/master-offer/accept", "POST /api/v1/account/factors/passkeys/{passkey_id}/remove",
    "POST /api/v1/deliveries/{delivery_id}/test", "POST /api/v1/deliveries/{delivery_id}/approve",
    "POST /api/v1/deliveries/{delivery_id}/release", "POST /api/v1/deliveries/{delivery_id}/resend-unknown",
    "POST /api/v1/utilities/{run_id}/run", "PUT /api/v1/settings/security", "PUT /api/v1/tags/{tag_id}/label",
}  # fmt: skip
# Whatever a person opens in a spreadsheet.
TABLES = {
    "/audit.csv", "/deliveries/{delivery_id}/recipients.csv", "/jobs/{job_id}/bad-rows.csv", "/exports/{job_id}/file",
    "/api/v1/exports/{job_id}/file",
}  # fmt: skip


def models() -> dict[str, type[BaseModel]]:
    """The model of the body of every route of the API that writes."""
    found = {}
    for router in ROUTERS:
        for route in router.routes:
            if not isinstance(route, APIRoute) or not route.path.startswith("/api/"):
                continue
            kind = route.body_field.field_info.annotation if route.body_field else None
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                path = route.path.replace("{email}", "y@example.jp")
                found |= {f"{method} {path}": kind for method in route.methods & {"POST", "PUT", "PATCH"}}
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
    await add(me)
    content = "氏名,メール\r\n=1+zq9,=1+zq9\r\n".encode()
    upload = {"Content-Type": "application/octet-stream"}
    file = await office.call("POST", "/imports?name=x.csv", 201, content=content, headers=upload)
    ids = {"file_id": file["id"], "user_id": 2}
    for call, body in BODIES.items():
        method, path = call.split()
        if path.endswith("/reject"):
            await office.call("POST", "/deliveries/1/request")
        where = re.sub(r"{(\w+)}", lambda part: str(ids.get(part[1], 1)), path)
        made = await me.api(method, where, json=hostile(known[call], body))
        assert made.is_success, (call, made.text)
    await office.call("POST", "/deliveries/1/request")
    await office.call("POST", "/deliveries/1/release", json={"when": "now", "typed_count": 1})
    # As a hostile mail server words it.
    await office.sql("UPDATE delivery_recipient SET reply = '=1+zq9'")
    directory = world.parts.directory.get(tenant.name)
    assert directory is not None
    export = await office.call("POST", "/exports", 202, json={})
    imported = await office.call("POST", f"/imports/{file['id']}/run")
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

    assert {path for method, path in routes() if method == "GET" and re.search(r"\.csv$|/file$", path)} == TABLES
    for path in TABLES:
        job = imported["job"] if "bad-rows" in path else export["job"]
        table = await me.get(path.format(delivery_id=1, job_id=job))
        assert table.status_code == 200, (path, table.text)
        cells = [cell for row in csv.reader(io.StringIO(table.content.decode("utf-8-sig"))) for cell in row]
        assert any(SIGN in cell for cell in cells), path
        assert [cell for cell in cells if cell.lstrip(" ").startswith(FORMULA_STARTS)] == [], path

    mails = await composed(office, 1)
    (mail,) = mails.values()
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert Finds(html.get_content()).found == []
    assert SIGN in html.get_content()
    assert SIGN in text.get_content()
    assert str(97 * 97) not in re.sub(r"[0-9a-f]{20,}|x=\d+", "", text.get_content())


async def test_no_field_begins_a_header(world: World) -> None:
    """Breaks in everything that a header is made of: refused, or one line in the mail."""
    tenant = await world.tenant()
    office = Office(world, tenant, await world.master(tenant), 1)
    known = models()
    headers = re.compile(r".*/(settings/sender-addresses|users|deliveries|templates)(/{\w+})?\Z")
    for path in filter(headers.match, BODIES):
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
    await office.call("POST", "/segments", 201, json=BODIES["POST /api/v1/segments"])
    made = await office.ready(subject="{{住所}}{{名前}}", from_name="=?utf-8?Q?=0aBcc:_v?=")
    # As if it had come by another way than a checked form.
    await office.sql("UPDATE address SET name = name || $1", "".join(BREAKS[1:3]) + "Bcc: victim@evil.example")
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    (mail,) = (await composed(office, made["id"])).values()
    assert "bcc" not in {name.lower() for name in mail.keys()}  # noqa: SIM118 - a message is no dict
    assert "victim@evil.example" in mail["Subject"]
    assert "\n" not in mail["Subject"]
    assert "<b>body" not in mail.get_content()
