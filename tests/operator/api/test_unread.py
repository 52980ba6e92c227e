"""Objects that do not parse take what they take: names, hosts and places."""

from __future__ import annotations

from typing import Any

import pytest
from elink_operator import naming
from elink_operator.api import ElinkTenant
from elink_operator.api.admission import validate_delete_server, validate_server, validate_tenant
from elink_operator.api.unread import Unread
from elink_operator.api.world import World

from tests.operator.api.builders import server, tenant, world

LONG = "a" * 60


def unread(name: str, kind: str = "ElinkTenant", *, status: Any = None, meta: Any = None, **spec: Any) -> Unread:
    obj = {"kind": kind, "metadata": {"name": name, "uid": "u", **(meta or {})}, "spec": spec, "status": status}
    return Unread.of(obj, ValueError())


def world_with(one: Unread, *objects: Any) -> World:
    made = world(*objects)
    made.put_unread(one)
    return made


def test_a_host_that_is_claimed_is_taken_for_newcomers_only() -> None:
    known = world_with(unread("broken", host="acme"))
    (said,) = validate_tenant(tenant("other", host="acme"), None, known)
    assert said == "Host acme.elink.example is taken by tenant broken: set spec.host to another name"
    working = tenant("acme")
    assert validate_tenant(working, working, known) == [], "a working tenant is not turned off"


@pytest.mark.parametrize(
    "one",
    [
        unread("broken", server="shared-1"),
        unread("broken", status={"server": "shared-1"}, server="elsewhere"),
        unread("broken", meta={"annotations": {"elink-lc.com/placed-on": "shared-1"}}),
    ],
)
def test_its_place_is_taken_and_its_server_stays(one: Unread) -> None:
    home = server("shared-1", maxTenants=1)
    known = world_with(one, home)
    assert "Server shared-1 is full (1 of 1 tenant)" in validate_tenant(tenant(server="shared-1"), None, known)[0]
    assert validate_delete_server(home, known) == [
        "Server shared-1 has 1 tenant that the operator cannot read (broken), so that it may hold their data: "
        "correct or erase them first"
    ]
    known.remove_unread("ElinkTenant", "broken")
    assert validate_delete_server(home, known) == []


def test_its_name_and_id_are_taken() -> None:
    known = world_with(unread("midori", "ElinkServer"))
    (said,) = validate_tenant(tenant("midori", plan="Dedicated"), None, known)
    assert said.startswith("A server named midori cannot be read by the operator")
    assert "Server midori cannot be read by the operator" in validate_tenant(tenant(server="midori"), None, known)[0]
    known = world_with(unread(LONG + "1"))
    assert known.tenants_with_id(naming.short_id(LONG + "1"), besides="x") == [LONG + "1"]
    assert validate_server(server("midori"), None, world_with(unread("midori", "ElinkServer"))) == []


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None, "spec": [], "status": "x"},
        {"metadata": {"name": ["a"], "annotations": 5, "generation": "1"}, "spec": {"host": 5, "asNew": "x"}},
    ],
)
def test_nothing_in_it_is_believed(obj: dict[str, Any]) -> None:
    found = Unread.of(obj, ValueError("secret"))
    assert (found.host, found.server, found.generation, found.problems) == ("", "", 0, "ValueError")


def test_what_is_wrong_is_said_without_values() -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"plan": "Gold", "masterAccount": {"email": "hidden@@example.jp"}}}
    with pytest.raises(ValueError, match="validation error") as failed:
        ElinkTenant.parse(obj)
    found = Unread.of(obj, failed.value)
    assert found.problems == "spec.plan (enum), spec.displayName (missing), spec.masterAccount.email (pattern)"
