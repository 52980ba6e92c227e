"""Reading objects: defaults, aliases, what is ignored and what is an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.meta import find_condition
from elink_operator.api.server import Tenancy
from elink_operator.api.tenant import Language, Phase, State
from pydantic import ValidationError

from tests.operator.api.builders import owned_by, server, tenant


def test_minimal_tenant_gets_the_defaults() -> None:
    spec = tenant().spec
    assert (spec.state, spec.language, spec.host, spec.server, spec.size) == (
        State.ACTIVE,
        Language.JA,
        None,
        None,
        None,
    )
    assert spec.limits.dump() == {"addresses": 10_000, "mailsPerHour": 1_000, "storage": "5Gi"}
    assert spec.backup.dump() == {"generations": 7}
    assert tenant().status.phase is Phase.PENDING


def test_camel_case_outside() -> None:
    spec = tenant(mail={"from": "a@b.jp", "replyTo": "c@d.jp", "smtpSecretRef": {"name": "relay"}}).spec
    assert spec.mail.from_ == "a@b.jp"
    assert spec.dump()["mail"] == {"from": "a@b.jp", "replyTo": "c@d.jp", "smtpSecretRef": {"name": "relay"}}
    scaled = server(app={"autoscaling": {"targetCPU": 50}}).spec.app.autoscaling
    assert scaled is not None
    assert (scaled.min, scaled.max, scaled.target_cpu) == (2, 6, 50)


def test_naming_resources_replaces_the_defaults_as_a_whole() -> None:
    resources = server(app={"resources": {"requests": {"cpu": 3}}}).spec.app.resources
    assert resources.dump() == {"requests": {"cpu": "3"}}


def test_capacity() -> None:
    assert server().spec.capacity == 200
    assert server(maxTenants=3).spec.capacity == 3
    assert server(tenancy="Dedicated").spec.capacity == 1
    assert server(tenancy="Dedicated").spec.tenancy is Tenancy.DEDICATED


def test_unknown_fields_are_ignored_and_objects_are_frozen() -> None:
    body = {"metadata": {"name": "s", "managedFields": [{}]}, "spec": {"tenancy": "Shared", "later": 1}, "kind": "X"}
    parsed = ElinkServer.parse(body)
    assert "later" not in parsed.dump()["spec"]
    with pytest.raises(ValidationError):
        parsed.spec.cordoned = True  # type: ignore[misc]


def test_status_round_trip() -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Waiting",
        "message": "m",
        "lastTransitionTime": "2026-07-01T03:00:00Z",
    }
    status = {"conditions": [condition], "cancelledAt": "2026-07-01T12:00:00+09:00"}
    parsed = tenant(status=status).status
    assert parsed.cancelled_at == datetime(2026, 7, 1, 3, tzinfo=UTC)
    assert parsed.dump()["conditions"] == [condition]
    found = find_condition(parsed.conditions, "Ready")
    assert found is not None
    assert found.reason == "Waiting"
    assert find_condition(parsed.conditions, "Isolated") is None


def test_controller_reference() -> None:
    owner = tenant(plan="Dedicated")
    owned = server("acme", tenancy="Dedicated", meta=owned_by(owner)).metadata
    assert owned.controlled_by("ElinkTenant", "acme")
    assert not owned.controlled_by("ElinkTenant", "acm")
    assert not owned.controlled_by("ElinkServer", "acme")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": {"name": "a"}},
        {"metadata": {"name": "a"}, "spec": None},
        {"metadata": {"name": "a"}, "spec": []},
        {
            "metadata": {"name": ["a"]},
            "spec": {"plan": "Shared", "displayName": "A", "masterAccount": {"email": "a@b.jp"}},
        },
        {"metadata": {"name": "a"}, "spec": {"plan": "Gold", "displayName": "A", "masterAccount": {"email": "a@b.jp"}}},
        {"metadata": {"name": "a"}, "spec": {"plan": "Shared", "displayName": 7, "masterAccount": {"email": "a@b.jp"}}},
        {"metadata": {"name": "a"}, "spec": {"plan": "Shared", "displayName": "A", "masterAccount": "a@b.jp"}},
    ],
)
def test_junk_is_a_value_error(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ElinkTenant.parse(body)
