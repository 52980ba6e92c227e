"""Changes of a server's size that would be overwritten are refused; all others are not."""

from __future__ import annotations

import pytest
from elink_operator.api.admission_size import validate_scale, validate_size

from tests.operator.api.builders import owned_by, server, tenant, world

SMALL = {"app": {"replicas": 1}}
OWNER = tenant("midori", plan="Dedicated", size=SMALL)
OWN = server("midori", meta=owned_by(OWNER), tenancy="Dedicated", **SMALL)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"app": {"replicas": 5}}, "spec.size.app"),
        ({**SMALL, "files": {"size": "50Gi"}, "worker": {"replicas": 3}}, "spec.size.worker, spec.size.files"),
    ],
)
def test_a_dedicated_server_is_changed_at_its_tenant(change: dict[str, object], parts: str) -> None:
    new = server("midori", meta=owned_by(OWNER), tenancy="Dedicated", **change)
    assert validate_size(new, OWN, world(OWNER, OWN)) == [
        "Server midori belongs to the Dedicated tenant midori and has the size that the tenant's spec says: "
        f"change {parts} of the tenant instead ('kubectl edit et midori')"
    ]


@pytest.mark.parametrize("other", [{"version": "0.2.0"}, {"cordoned": True}])
def test_what_is_no_size_passes(other: dict[str, object]) -> None:
    new = server("midori", meta=owned_by(OWNER), tenancy="Dedicated", **SMALL, **other)
    assert validate_size(new, OWN, world(OWNER, OWN)) == []


def test_what_the_tenant_asks_for_passes_and_what_was_wrong_before_is_no_reason() -> None:
    known = world(OWNER, OWN)
    wrong = server("midori", meta=owned_by(OWNER), tenancy="Dedicated", app={"replicas": 9})
    newer = server("midori", meta=owned_by(OWNER), tenancy="Dedicated", app={"replicas": 9}, version="0.2.0")
    assert validate_size(newer, wrong, known) == []
    assert validate_size(OWN, wrong, known) == []
    assert validate_size(OWN, None, known) == []


def test_servers_that_follow_no_tenant() -> None:
    big = {"app": {"replicas": 5}}
    assert validate_size(server(**big), server(), world(server())) == []
    stranger = server("midori", tenancy="Dedicated")
    assert validate_size(server("midori", tenancy="Dedicated", **big), stranger, world(OWNER, stranger)) == []
    leaving = tenant("midori", plan="Shared")
    new = server("midori", meta=owned_by(leaving), tenancy="Dedicated", **big)
    assert validate_size(new, OWN, world(leaving, OWN)) == []


def test_scale() -> None:
    known = world(OWNER, OWN, server("shared-1"), server("auto", app={"autoscaling": {}}))
    instead = '\'kubectl patch et midori --type=merge -p {"spec":{"size":{"app":{"replicas":5}}}}\' instead'
    assert validate_scale("midori", 5, known) == [
        "Server midori belongs to the Dedicated tenant midori and has the size that the tenant's spec says: " + instead
    ]
    for name, replicas in (("midori", 1), ("shared-1", 5), ("unknown", 5)):
        assert validate_scale(name, replicas, known) == []
    (said,) = validate_scale("auto", 5, known)
    assert said.startswith("Server auto has an autoscaler, which sets the number of web pods: set spec.app.autoscaling")
