"""The API's own description: complete, with examples that the rules accept, and true."""

from __future__ import annotations

import re
from typing import Any

import pytest
from elink_app.addresses.schemas import AddressInput, AddressOutput

from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres


async def document(world: World) -> dict[str, Any]:
    answer = await world.browser((await world.tenant()).host).get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_every_operation_is_described(world: World) -> None:
    found = await document(world)
    delivery = "/api/v1/deliveries/{delivery_id}"
    assert set(found["paths"]) == {
        "/api/v1/session", "/api/v1/addresses", "/api/v1/addresses/{address_id}",
        "/api/v1/deliveries", delivery, f"{delivery}/preview", f"{delivery}/audience", f"{delivery}/test",
        f"{delivery}/request", f"{delivery}/approve", f"{delivery}/reject", f"{delivery}/release",
        f"{delivery}/take-back", f"{delivery}/pause", f"{delivery}/resume", f"{delivery}/cancel",
        f"{delivery}/recipients", f"{delivery}/history", f"{delivery}/links", f"{delivery}/attachments",
        f"{delivery}/attachments/{{sha256}}",
        "/api/v1/templates", "/api/v1/templates/{template_id}", "/api/v1/templates/{template_id}/versions",
        "/api/v1/templates/{template_id}/preview", "/api/v1/images", "/api/v1/images/{image_id}",
        "/api/v1/settings/sender", "/api/v1/settings/sender-addresses",
        "/api/v1/settings/sender-addresses/{address_id}", "/api/v1/settings/dkim-keys",
        "/api/v1/settings/dkim-keys/{key_id}", "/api/v1/settings/dkim-keys/{key_id}/activate",
        "/api/v1/addresses/{address_id}/restore", "/api/v1/attributes", "/api/v1/attributes/{attribute_id}",
        "/api/v1/attributes/{attribute_id}/restore", "/api/v1/consents/{email}", "/api/v1/suppressions",
        "/api/v1/suppressions/{suppression_id}/lift", "/api/v1/tags", "/api/v1/tags/{tag_id}",
        "/api/v1/tags/{tag_id}/label", "/api/v1/segments", "/api/v1/segments/preview",
        "/api/v1/duplicates", "/api/v1/duplicates/merge", "/api/v1/duplicates/merges/{merge_id}/undo",
        "/api/v1/segments/{segment_id}", "/api/v1/segments/{segment_id}/addresses",
        "/api/v1/audit",
        "/api/v1/roles", "/api/v1/roles/{role_id}", "/api/v1/tokens", "/api/v1/tokens/{token_id}",
        "/api/v1/users", "/api/v1/users/{user_id}", "/api/v1/users/{user_id}/disable",
        "/api/v1/users/{user_id}/enable", "/api/v1/users/{user_id}/invite", "/api/v1/users/{user_id}/sessions",
        "/api/v1/user-fields", "/api/v1/user-fields/{field_id}", "/api/v1/user-fields/{field_id}/restore",
        "/api/v1/users/{user_id}/force-password", "/api/v1/users/{user_id}/remove-factor",
        "/api/v1/account/password", "/api/v1/account/factors", "/api/v1/account/factors/recovery-codes",
        "/api/v1/account/factors/totp/remove", "/api/v1/account/factors/passkeys/{passkey_id}",
        "/api/v1/account/factors/passkeys/{passkey_id}/remove", "/api/v1/settings/security",
        "/api/v1/master-offer", "/api/v1/master-offer/accept", "/api/v1/dashboard", "/api/v1/support",
        "/api/v1/notices", "/api/v1/notices/{notice_id}", "/api/v1/notices/{notice_id}/receipt",
        "/api/v1/notices/{notice_id}/receipts",
        "/api/v1/deliveries/{delivery_id}/resend-unknown",
        "/api/v1/jobs", "/api/v1/jobs/{job_id}", "/api/v1/jobs/{job_id}/cancel",
        "/api/v1/jobs/{job_id}/undo", "/api/v1/imports", "/api/v1/imports/{file_id}", "/api/v1/imports/{file_id}/plan",
        "/api/v1/imports/{file_id}/check", "/api/v1/imports/{file_id}/run",
        "/api/v1/exports", "/api/v1/exports/{job_id}/file",
        "/api/v1/utilities", "/api/v1/utilities/{run_id}", "/api/v1/utilities/{run_id}/run",
        "/api/v1/utilities/{run_id}/undo",
    }  # fmt: skip
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            where = (method, path)
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["security"][0].keys() == ({"session"} if method == "get" else {"session", "csrf"}), where
            statuses = set(operation["responses"])
            assert {"401", "503"} <= statuses, where
            if "{" in path:
                assert "404" in statuses, where
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    content = response["content"]["application/problem+json"]
                    assert content["schema"]["$ref"].endswith("/Problem"), where
                    assert content["examples"], where
    assert "HTTPValidationError" not in found["components"]["schemas"]


async def test_every_reference_leads_somewhere_and_examples_are_true(world: World) -> None:
    found = await document(world)
    schemas = found["components"]["schemas"]

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    for reference in references(found):
        assert reference.rpartition("/")[2] in schemas
    AddressInput.model_validate(schemas["AddressInput"]["examples"][0])
    AddressOutput.model_validate(schemas["AddressOutput"]["examples"][0])
    me = await world.master(await world.tenant())
    made = await me.api("POST", "/api/v1/addresses", json=schemas["AddressInput"]["examples"][0])
    assert made.status_code == 201
    assert set(made.json()) == set(schemas["AddressOutput"]["properties"])


async def test_answers_are_what_is_documented(world: World) -> None:
    found = await document(world)
    tenant = await world.tenant()
    me, stranger = await world.master(tenant), world.browser(tenant.host)
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            real = re.sub("{[^}]*}", "12345", path)
            for browser in (me, stranger):
                body = {"json": {"name": 5}} if method in ("post", "put") else {}
                answer = await browser.api(method.upper(), real, **body)
                assert str(answer.status_code) in operation["responses"], (method, path, answer.status_code)
                if answer.status_code >= 400:
                    assert set(answer.json()) >= {"type", "title", "status", "detail", "request_id"}
                    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_language_of_problems(world: World) -> None:
    browser = world.browser((await world.tenant()).host)
    japanese = (await browser.get("/api/v1/addresses")).json()
    english = await browser.client.get("/api/v1/addresses", headers={"Cookie": "__Host-elink-language=en"})
    assert japanese["title"] == "ログインしてください"
    assert english.json()["title"] == "Please log in"
    assert japanese["type"] == english.json()["type"]
    for method, path, status in (("PATCH", "/api/v1/addresses", 405), ("GET", "/api/v1/nothing", 404)):
        headers = {"Sec-Fetch-Site": "same-origin"}
        answer = await browser.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
