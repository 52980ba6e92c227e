"""The pure rules of restores: each refusal with its sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from elink_operator.api import ElinkRestore
from elink_operator.api.admission_restore import validate_restore
from elink_operator.api.restored import COPY_MARK, copy_of

from tests.operator.api.builders import NOW, server, tenant, world


def restore(mode: str = "Drill", *, meta: dict[str, Any] | None = None, **spec: Any) -> ElinkRestore:
    return ElinkRestore.parse(
        {
            "metadata": {"name": "back", "uid": "uid-back", **(meta or {})},
            "spec": {"tenant": "acme", "mode": mode, **spec},
        }
    )


def in_place(confirmed: str) -> ElinkRestore:
    return restore("InPlace", meta={"annotations": {"elink-lc.com/confirm-restore": confirmed}})


def as_new(name: str = "acme-copy", **more: Any) -> ElinkRestore:
    return restore("AsNew", asNew={"tenant": name, **more})


@pytest.mark.parametrize("good", [restore(), in_place("acme"), as_new(), as_new(server="shared-1")])
def test_good(good: ElinkRestore) -> None:
    assert validate_restore(good, None, world(tenant(), server())) == []
    assert validate_restore(good, good, world(tenant(), server())) == []


def test_an_unknown_tenant() -> None:
    assert validate_restore(restore(), None, world()) == [
        "Tenant acme does not exist: set spec.tenant to one that 'kubectl get et' lists; "
        "a tenant that was erased cannot come back"
    ]


@pytest.mark.parametrize(
    "going",
    [
        tenant(meta={"deletionTimestamp": "2026-06-01T00:00:00Z"}),
        tenant(
            state="Cancelled",
            status={"cancelledAt": "2026-06-01T00:00:00Z", "eraseAfter": (NOW - timedelta(seconds=1)).isoformat()},
        ),
    ],
    ids=["deleted", "due"],
)
def test_a_tenant_that_is_being_erased(going: Any) -> None:
    expected = ["Tenant acme is being erased: its data cannot be brought back"]
    assert validate_restore(restore(), None, world(going)) == expected
    assert validate_restore(restore(), restore(), world(going)) == expected


def test_a_cancelled_tenant_whose_time_to_undo_is_not_over() -> None:
    status = {"cancelledAt": "2026-06-30T00:00:00Z", "eraseAfter": (NOW + timedelta(days=1)).isoformat()}
    assert validate_restore(restore(), None, world(tenant(state="Cancelled", status=status))) == []


@pytest.mark.parametrize("said", ["", "ACME", "acme ", "acm", "acme-2"])
def test_in_place_without_the_right_name(said: str) -> None:
    assert validate_restore(in_place(said), None, world(tenant())) == [
        "Restore back would replace the live data of tenant acme: "
        "confirm it with the annotation elink-lc.com/confirm-restore: acme"
    ]


def test_the_spec_cannot_be_changed() -> None:
    assert validate_restore(restore(generation="20260131T170000Z"), restore(), world(tenant())) == [
        "the spec of a restore cannot be changed: delete it and make another one"
    ]


def test_a_name_that_is_taken_unless_by_this_very_restore() -> None:
    expected = ["A tenant named acme-copy exists: set spec.asNew.tenant to a name that no tenant has"]
    assert validate_restore(as_new(), None, world(tenant(), tenant("acme-copy"))) == expected
    theirs = tenant("acme-copy", meta={"annotations": {"elink-lc.com/restored-by": "another"}})
    assert validate_restore(as_new(), None, world(tenant(), theirs)) == expected
    ours = tenant("acme-copy", meta={"annotations": {"elink-lc.com/restored-by": "uid-back"}})
    assert validate_restore(as_new(), as_new(), world(tenant(), ours)) == []
    assert validate_restore(as_new("acme"), None, world(tenant()))[0].startswith("A tenant named acme exists")


def test_the_new_tenant_is_judged_as_any_other() -> None:
    taken = tenant("other", host="acme-copy")
    assert validate_restore(as_new(), None, world(tenant(), taken)) == [
        "Host acme-copy.elink.example is taken by tenant other: set spec.host to another name"
    ]
    dedicated = tenant(plan="Dedicated")
    assert validate_restore(as_new(server="shared-1"), None, world(dedicated, server())) == []


def test_a_copy_does_not_share_the_postgresql_of_its_source() -> None:
    """Its server would be refused, and the restore would wait for it for ever."""
    database = {"mode": "External", "secretRef": {"name": "pg-acme"}}
    source = tenant(plan="Dedicated", size={"database": database})
    [refusal] = validate_restore(as_new(), None, world(source))
    assert refusal.startswith("Tenant acme has a PostgreSQL of its own (External)")
    assert validate_restore(in_place("acme"), None, world(source)) == []


def test_the_copy_is_the_customers_contract_without_its_place() -> None:
    source = tenant(
        displayName="あ" * 200, host="book.acme.jp", state="Suspended", stateReason="x", server="shared-9",
        backup={"schedule": "1 2 * * *", "generations": 30}, language="en", limits={"addresses": 5},
    )  # fmt: skip
    made = copy_of(source, as_new(), "shared-1")
    assert made.spec.display_name == "あ" * 196 + COPY_MARK
    assert (made.spec.host, made.spec.state.value, made.spec.state_reason) == (None, "Active", "")
    assert (made.spec.server, made.spec.backup.schedule, made.spec.backup.generations) == ("shared-1", None, 30)
    assert (made.spec.language.value, made.spec.limits.addresses) == ("en", 5)
    with pytest.raises(ValueError, match="makes no new tenant"):
        copy_of(source, restore(), None)


def test_a_deleted_restore_is_never_refused() -> None:
    going = restore(meta={"deletionTimestamp": "2026-06-01T00:00:00Z"})
    assert validate_restore(going, restore(), world()) == []


def test_the_world_knows_who_is_out_of_service() -> None:
    def running(step: str, wanted: ElinkRestore) -> ElinkRestore:
        return ElinkRestore.parse({**wanted.dump(), "status": {"phase": "Running", "step": step}})

    there = world(tenant(), tenant("acme-copy"))
    there.put_restore(running("Restore", in_place("acme")))
    assert there.restoring("acme") is not None
    there.put_restore(running("Verify", in_place("acme")))
    assert there.restoring("acme") is None
    there.put_restore(running("Restore", restore()))
    assert there.restoring("acme") is None, "a drill disturbs nobody"
    there.put_restore(running("SwitchFiles", as_new()))
    assert (there.restoring("acme"), there.restoring("acme-copy") is not None) == (None, True)
    assert [r.name for r in there.restores_of("acme")] == ["back"]
    there.remove_restore("back")
    assert (there.restores_of("acme"), there.restores_of("acme-copy")) == ([], [])
