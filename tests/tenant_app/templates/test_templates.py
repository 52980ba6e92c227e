"""Templates and images through API and pages: versions, previews, what is refused."""

from __future__ import annotations

import pytest

from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World

pytestmark = pytest.mark.postgres

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
BODY = {"name": "月次", "subject": "{{名前|お客様}} 様", "text_body": "{{会社|御社}} 御中", "layout": "html",
        "source": "<p>{{会社|御社}} {{名前}}</p>"}  # fmt: skip


async def make(me: Browser, expect: int = 201, **changes: object) -> dict[str, object]:
    answer = await me.api("POST", "/api/v1/templates", json={**BODY, **changes})
    assert answer.status_code == expect, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_every_version_is_kept(world: World) -> None:
    me = await world.master(await world.tenant())
    made = await make(me)
    path = f"/api/v1/templates/{made['id']}"
    saved = await me.api("PUT", path, json={**BODY, "name": "新", "version": 1})
    assert saved.json()["version"] == 2
    assert (await me.api("PUT", path, json={**BODY, "version": 1})).status_code == 409
    assert (await me.get(f"{path}?version=1")).json()["name"] == "月次"
    assert [row["version"] for row in (await me.get(f"{path}/versions")).json()] == [2, 1]
    assert (await me.get(f"{path}?version=3")).status_code == 404
    assert "第 1 版の内容です" in (await me.get(f"/templates/{made['id']}?version=1")).text
    assert (await me.api("DELETE", path)).status_code == 204
    assert (await me.get(path)).status_code == 404
    assert (await me.get("/api/v1/templates")).json() == []


async def test_what_is_not_saved_is_shown_in_the_frame_and_kept_nowhere(world: World) -> None:
    me = await world.master(await world.tenant())
    form = {"subject": "件", "text_body": "", "layout": "html", "source": "<p>{{名前}} <script>x</script></p>"}
    shown = await me.post("/templates/preview/frame", {**form, "name": ""})
    assert shown.status_code == 200
    assert shown.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "<p>山田 太郎 </p>" in shown.text
    assert "script" not in shown.text
    text = await me.post("/templates/preview/frame", {"text_body": "{{名前}}\n<b>", "layout": "none"})
    assert "山田 太郎\n&lt;b&gt;" in text.text
    for wrong in ({"text_body": "{{なまえ<b>}}"}, {"layout": "mjml", "source": "<mjml><b>"}, {"layout": "x"}):
        refused = await me.post("/templates/preview/frame", {**form, **wrong})
        assert refused.status_code == 422
        assert "<li>" in refused.text
        assert "<b>" not in refused.text
        assert refused.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    page = await me.get("/templates/new")
    assert 'formtarget="live-preview"' in page.text
    assert "frame-src 'self'" in page.headers["content-security-policy"]
    assert (await me.get("/api/v1/templates")).json() == []
    stranger = world.browser((await world.tenant()).host)
    assert (await stranger.post("/templates/preview/frame", form)).status_code in (303, 401)


async def test_preview_for_an_address_is_escaped(world: World) -> None:
    me = await world.master(await world.tenant())
    company = "<b>&\"'</b><script>alert(1)</script>"
    person = (await me.api("POST", "/api/v1/addresses", json={"name": "山田", "company": company})).json()["id"]
    made = await make(me)
    shown = (await me.get(f"/api/v1/templates/{made['id']}/preview?address={person}")).json()
    assert shown["subject"] == "山田 様"
    assert shown["text"] == f"{company} 御中"
    assert "<script" not in shown["html"]
    assert "&lt;script&gt;" in shown["html"]
    page = await me.get(f"/templates/{made['id']}/preview?address={person}")
    assert "<script" not in page.text
    assert "frame-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    frame = await me.get(f"/templates/{made['id']}/preview/frame?address={person}")
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert frame.headers["x-frame-options"] == "SAMEORIGIN"
    assert 'sandbox title="' in page.text
    assert (await me.get(f"/templates/{made['id']}/preview?address=999999")).status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("subject", "{{7*7}}", "placeholder_unknown"),
        ("text_body", "{{config.__class__.__mro__}}", "placeholder_unknown"),
        ("text_body", "{{ ''.__class__ }}", "placeholder_unknown"),
        ("text_body", "{{名前", "placeholder_unclosed"),
        ("text_body", "{{}}", "placeholder_empty"),
        ("text_body", "{{名\n前}}", "placeholder_line_break"),
        ("text_body", "{{{{名前}}}}", "placeholder_brace"),
        ("source", "<p>{{未知}}</p>", "placeholder_unknown"),
        ("subject", "a\r\nBcc: x@evil.example", "control_character"),
        ("subject", "a\u2028b", "control_character"),
        ("text_body", "a\0b", "control_character"),
        ("source", "<script>alert(1)</script>", "html_empty"),
    ],
)
async def test_what_is_refused_at_save(world: World, field: str, value: str, code: str) -> None:
    me = await world.master(await world.tenant())
    answer = await make(me, 422, **{field: value})
    assert {(wrong["pointer"], wrong["code"]) for wrong in answer["errors"]} == {(f"/{field}", code)}  # type: ignore[attr-defined, union-attr]


@pytest.mark.parametrize("value", ["{% for x in y %}{{名前}}{% endfor %}", "${7*7} #{7*7} <%= 7*7 %>", "{7*7}"])
async def test_other_template_languages_are_text(world: World, value: str) -> None:
    me = await world.master(await world.tenant())
    made = await make(me, text_body=value)
    shown = (await me.get(f"/api/v1/templates/{made['id']}/preview")).json()
    assert shown["text"] == value.replace("{{名前}}", "山田 太郎")


async def test_form_says_what_is_wrong_and_keeps_what_was_typed(world: World) -> None:
    me = await world.master(await world.tenant())
    answer = await me.post("/templates", {**BODY, "subject": "{{なまえ}} <b>"})
    assert answer.status_code == 422
    assert "「なまえ」という項目はありません" in answer.text
    assert 'value="{{なまえ}} &lt;b&gt;"' in answer.text
    good = await me.post("/templates", BODY)
    assert good.status_code == 303
    assert "保存しました" in (await me.get(good.headers["location"])).text


async def upload(me: Browser, content: bytes, name: str = "a.png", kind: str = "image/png") -> int:
    token = await me.token("/templates")
    files = {"image": (name, content, kind)}
    answer = await me.client.post("/templates/images", data={"csrf_token": token}, files=files, headers=ORIGIN_HEADERS)
    return answer.status_code


async def test_images_are_what_their_first_bytes_say(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    for content in (b"", b"GIF", b"<svg xmlns='x' onload='alert(1)'/>", b"<html>", b"\x89PNG", b"RIFF0000WAVE"):
        assert await upload(me, content) == 422
    assert await upload(me, PNG + b"x" * 900_000) == 422
    assert await upload(me, PNG, name="../../../etc/passwd<script>", kind="text/html") == 303
    image = (await me.get("/api/v1/images")).json()[0]
    assert image["media_type"] == "image/png"
    assert "<script>" not in (await me.get("/templates")).text
    shown = await world.browser(tenant.host).get(image["path"])
    assert shown.status_code == 200
    assert shown.content == PNG
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "csrf" not in str(shown.headers)
    other = await world.tenant()
    assert (await world.browser(other.host).get(image["path"])).status_code == 404
    assert (await (await world.master(other)).api("DELETE", f"/api/v1/images/{image['id']}")).status_code == 404
    assert (await me.api("DELETE", f"/api/v1/images/{image['id']}")).status_code == 204
    assert (await me.get(image["path"])).status_code == 404
    assert list((world.parts.settings.tenants_dir / tenant.directory / "img").iterdir()) == []


async def test_image_names_lead_nowhere_else(world: World) -> None:
    tenant = await world.tenant()
    browser = world.browser(tenant.host)
    folder = world.parts.settings.tenants_dir / tenant.directory / "img"
    folder.mkdir(parents=True, mode=0o700)
    secret = folder.parent / "secret.png"
    secret.write_bytes(PNG)
    (folder / ("a" * 26 + ".png")).symlink_to(secret)
    (folder / "plain.png").write_bytes(PNG)
    for name in ("plain.png", "..%2fsecret.png", "%2e%2e%2fsecret.png", "a" * 26 + ".png", "." + "a" * 25 + ".png"):
        assert (await browser.get(f"/files/img/{name}")).status_code == 404, name


async def test_upload_needs_the_token_and_multipart_is_taken_nowhere_else(world: World) -> None:
    me = await world.master(await world.tenant())
    files = {"image": ("a.png", PNG, "image/png")}
    assert (await me.client.post("/templates/images", files=files, headers=ORIGIN_HEADERS)).status_code == 403
    token = await me.token("/templates")
    answer = await me.client.post("/templates", data={"csrf_token": token}, files=files, headers=ORIGIN_HEADERS)
    assert answer.status_code == 415


async def test_another_tenants_template_is_not_there(world: World) -> None:
    mine, other = await world.master(await world.tenant()), await world.master(await world.tenant())
    made = await make(mine)
    for path in ("", "/preview", "/versions"):
        assert (await other.get(f"/api/v1/templates/{made['id']}{path}")).status_code == 404
    assert (await other.get(f"/templates/{made['id']}")).status_code == 404
    assert (await other.get(f"/templates/{made['id']}/preview/frame")).status_code == 404
    assert (await other.api("DELETE", f"/api/v1/templates/{made['id']}")).status_code == 404
