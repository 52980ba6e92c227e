"""The sender's settings, allowed senders and signing keys, by API and pages."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

SETTINGS = "/api/v1/settings"


async def test_settings_are_saved_audited_and_guarded_against_overwriting(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    first = (await me.get(f"{SETTINGS}/sender")).json()
    assert (first["approval_required"], first["hold_minutes"], first["complete"]) == (True, 5, False)
    body = {"organisation": "さくら", "postal_address": "東京", "contact": "a@b.example", "quiet_from": "21:00",
            "quiet_until": "08:00", "version": 0}  # fmt: skip
    saved = await me.api("PUT", f"{SETTINGS}/sender", json=body)
    assert saved.status_code == 200, saved.text
    assert saved.json()["complete"] is True
    assert saved.json()["version"] == 1
    assert (await me.api("PUT", f"{SETTINGS}/sender", json=body)).status_code == 409
    async with world.server.inside(tenant.database) as connection:
        line = await connection.fetchrow("SELECT before, after FROM audit_entry WHERE action = 'sender_settings.save'")
        assert '"quiet_from": "21:00:00"' in line["after"]
        assert "approval_required" not in line["after"]


@pytest.mark.parametrize(
    "change",
    [
        {"quiet_from": "21:00"}, {"quiet_from": "21:00+09:00", "quiet_until": "08:00"}, {"hold_minutes": -1},
        {"hold_minutes": 61}, {"type_count_above": -1}, {"contact": "a\r\nBcc: x"}, {"organisation": "x" * 201},
        {"unknown": 1}, {"quiet_from": "25:00", "quiet_until": "08:00"},
    ],
)  # fmt: skip
async def test_settings_that_are_refused(world: World, change: dict[str, object]) -> None:
    me = await world.master(await world.tenant())
    assert (await me.api("PUT", f"{SETTINGS}/sender", json=change)).status_code == 422


async def test_the_form_keeps_what_was_typed(world: World) -> None:
    me = await world.master(await world.tenant())
    form = {"organisation": "<b>さくら", "postal_address": "", "contact": "", "hold_minutes": "x",
            "type_count_above": "9", "quiet_from": "21:00", "quiet_until": "", "version": "0"}  # fmt: skip
    answer = await me.post("/settings/sender", form)
    assert answer.status_code == 422
    assert 'value="&lt;b&gt;さくら"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    good = await me.post("/settings/sender", {**form, "hold_minutes": "0", "quiet_from": "", "resend_unknown": "1"})
    assert good.status_code == 303
    saved = (await me.get(f"{SETTINGS}/sender")).json()
    assert (saved["hold_minutes"], saved["approval_required"], saved["resend_unknown"]) == (0, False, True)


async def test_senders_are_unique_and_clean(world: World) -> None:
    me = await world.master(await world.tenant())
    path = f"{SETTINGS}/sender-addresses"
    assert (await me.api("POST", path, json={"email": "News@Sakura.example"})).status_code == 201
    for email in ("news@sakura.example", "x", "a@b.example\r\nBcc: c@d.example", "<a@b.example>", "a@b.example>"):
        assert (await me.api("POST", path, json={"email": email})).status_code == 422, email
    assert (await me.api("POST", path, json={"email": "b@sakura.example", "name": "a\nBcc: x"})).status_code == 422
    found = (await me.get(path)).json()
    assert (await me.api("DELETE", f"{path}/{found[0]['id']}")).status_code == 204
    assert (await me.api("DELETE", f"{path}/{found[0]['id']}")).status_code == 404


async def test_keys_are_made_published_and_changed(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    path = f"{SETTINGS}/dkim-keys"
    assert (await me.api("POST", path, json={"domain": "sakura.example"})).status_code == 422
    await me.api("POST", f"{SETTINGS}/sender-addresses", json={"email": "news@sakura.example"})
    first = (await me.api("POST", path, json={"domain": "Sakura.example"})).json()
    second = (await me.api("POST", path, json={"domain": "sakura.example"})).json()
    assert first["selector"] != second["selector"]
    assert first["active"] is False
    assert first["record_name"] == f"{first['selector']}._domainkey.sakura.example"
    public = load_der_public_key(base64.b64decode(first["record_value"].removeprefix("v=DKIM1; k=rsa; p=")))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    for key in (first, second):
        assert (await me.api("POST", f"{path}/{key['id']}/activate")).json()["active"] is True
    assert [key["active"] for key in (await me.get(path)).json()] == [True, False]
    assert (await me.api("DELETE", f"{path}/{second['id']}")).status_code == 422
    assert (await me.api("DELETE", f"{path}/{first['id']}")).status_code == 204
    page = (await me.get("/settings/dkim")).text
    assert second["record_value"] in page.replace("&#39;", "'")
    assert "PRIVATE" not in page
    async with world.server.inside(tenant.database) as connection:
        log = await connection.fetch("SELECT action, after::text FROM audit_entry WHERE kind = 'dkim_key'")
    assert [row["action"] for row in log] == ["dkim.make", "dkim.make", "dkim.activate", "dkim.activate", "dkim.delete"]
    assert not any("PRIVATE" in row["after"] for row in log)
