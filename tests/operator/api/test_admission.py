"""The pure rules: each refusal with its sentence, and what must not be refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from elink_operator import naming
from elink_operator.api.admission import (
    validate_delete_server,
    validate_delete_tenant,
    validate_server,
    validate_tenant,
)

from tests.operator.api.builders import NOW, owned_by, restore, server, tenant, world

MOVE = {"annotations": {"elink-lc.com/move": "true"}}
LATER = {"creationTimestamp": "2026-02-01T00:00:00Z"}


def ready(host: str) -> dict[str, str]:
    return {"url": f"https://{host}.elink.example:8443", "server": "shared-1"}


class TestTenantAlone:
    def test_good(self) -> None:
        assert validate_tenant(tenant(), None, world()) == []

    def test_bad_name(self) -> None:
        assert validate_tenant(tenant("1acme"), None, world())[0].startswith("metadata.name must be 1 to 63 lower-case")

    def test_region(self) -> None:
        assert validate_tenant(tenant(region="us"), None, world(regions=frozenset({"jp", "jp-west"}))) == [
            "Region us is not allowed on this platform: set spec.region to an allowed region (jp, jp-west)"
        ]

    def test_no_region_is_allowed_by_an_empty_list(self) -> None:
        assert validate_tenant(tenant(), None, world(regions=frozenset())) == [
            "Region jp is not allowed on this platform: set spec.region to an allowed region (none)"
        ]

    def test_size_of_a_shared_tenant(self) -> None:
        assert validate_tenant(tenant(size={}), None, world()) == [
            "spec.size is for Dedicated tenants only: remove it; a Shared tenant has the size of its server"
        ]

    def test_pin_of_a_dedicated_tenant(self) -> None:
        assert validate_tenant(tenant(plan="Dedicated", server="x"), None, world()) == [
            "spec.server is for Shared tenants only: remove it; a Dedicated tenant makes its own server"
        ]

    def test_a_deleting_tenant_is_never_refused(self) -> None:
        going = tenant("1bad", region="us", meta={"deletionTimestamp": "2026-06-01T00:00:00Z"})
        assert validate_tenant(going, tenant(), world()) == []

    def test_several_refusals_at_once(self) -> None:
        assert len(validate_tenant(tenant(region="us", server="nowhere"), None, world())) == 2


class TestTransitions:
    def test_plan(self) -> None:
        assert validate_tenant(tenant(plan="Dedicated"), tenant(), world()) == [
            "spec.plan cannot be changed just like that: the data of tenant acme has to move to another server. "
            'If that is wanted, set the annotation elink-lc.com/move: "true" in the same change'
        ]

    def test_plan_with_the_annotation_that_asks_for_the_move(self) -> None:
        assert validate_tenant(tenant(plan="Dedicated", meta=MOVE), tenant(), world()) == []

    def test_a_tenant_that_moves_to_a_server_of_its_own_may_begin_small(self) -> None:
        small = {"database": {"mode": "Embedded", "storage": "1Gi"}, "files": {"size": "1Gi"}}
        assert validate_tenant(tenant(plan="Dedicated", size=small, meta=MOVE), tenant(), world()) == []
        refusals = validate_tenant(tenant(plan="Dedicated", size=small), tenant(plan="Dedicated"), world())
        assert "cannot shrink" in refusals[0]

    @pytest.mark.parametrize("value", ["false", "yes", "True", ""])
    def test_plan_with_another_annotation(self, value: str) -> None:
        asked = tenant(plan="Dedicated", meta={"annotations": {"elink-lc.com/move": value}})
        assert "has to move" in validate_tenant(asked, tenant(), world())[0]

    def test_plan_of_a_cancelled_tenant(self) -> None:
        gone = tenant(state="Cancelled")
        assert validate_tenant(tenant(plan="Dedicated", state="Cancelled", meta=MOVE), gone, world()) == [
            "Tenant acme is Cancelled and is not moved any more: undo the cancellation first"
        ]

    @pytest.mark.parametrize(
        ("phase", "step", "change", "says"),
        [
            ("Running", "Restore", {"plan": "Shared"}, None),
            ("Running", "Restore", {"plan": "Shared", "server": "shared-1"}, None),
            ("Running", "Restore", {"plan": "Shared", "server": "shared-2"}, "set spec.plan and spec.server back"),
            ("Succeeded", "KeepOld", {"plan": "Shared", "server": "shared-1"}, "is being moved to server acme: wait"),
            ("Succeeded", "Done", {"plan": "Shared", "server": "shared-2"}, None),
        ],
    )
    def test_a_change_while_a_move_is_under_way(
        self, phase: str, step: str, change: dict[str, str], says: str | None
    ) -> None:
        home = {"server": "shared-1" if phase == "Running" else "acme"}
        moving = tenant(plan="Dedicated", meta=MOVE, status=home)
        move = restore("move-acme-2", tenant="acme", move="acme", source="shared-1", phase=phase, step=step)
        known = world(server("shared-1"), server("shared-2"), moving, move)
        refusals = validate_tenant(tenant(**change, meta=MOVE, status=home), moving, known)
        assert (says is None and refusals == []) or (says is not None and says in refusals[0])

    def test_region_also_when_it_was_the_default(self) -> None:
        two = world(regions=frozenset({"jp", "jp-west"}))
        assert "spec.region cannot be changed" in validate_tenant(tenant(region="jp-west"), tenant(), two)[0]
        assert validate_tenant(tenant(region="jp"), tenant(), two) == []

    @pytest.mark.parametrize("state", ["Active", "Suspended"])
    def test_a_cancellation_is_undone_by_either_state(self, state: str) -> None:
        assert validate_tenant(tenant(state=state), tenant(state="Cancelled"), world()) == []

    @pytest.mark.parametrize(("seconds_left", "allowed"), [(1, True), (0, False), (-1, False)])
    def test_undo_only_before_erase_after(self, seconds_left: int, allowed: bool) -> None:
        status = {"eraseAfter": (NOW + timedelta(seconds=seconds_left)).isoformat()}
        refusals = validate_tenant(tenant(status=status), tenant(state="Cancelled", status=status), world())
        if allowed:
            assert refusals == []
        else:
            assert refusals[0].startswith(
                "The cancellation of tenant acme can no longer be undone: its time to do so ended"
            )

    @pytest.mark.parametrize("state", ["Active", "Suspended", "Cancelled"])
    def test_the_contract_counts_whatever_else_is_wrong(self, state: str) -> None:
        """A region that the platform has given up can be neither changed nor kept: the tenant must be able to end."""
        gone = world(regions=frozenset({"jp-west"}))
        before = tenant(region="jp", state="Suspended" if state == "Active" else "Active")
        after = tenant(region="jp", state=state, stateReason="契約終了")
        assert validate_tenant(after, before, gone) == []
        assert "Region jp is not allowed" in validate_tenant(after, None, gone)[0]
        more = tenant(region="jp", state=state, language="en")
        assert "Region jp is not allowed" in validate_tenant(more, before, gone)[0]

    def test_undo_before_the_operator_saw_the_cancellation(self) -> None:
        assert validate_tenant(tenant(), tenant(state="Cancelled"), world()) == []

    def test_size_added_below_the_volumes_present(self) -> None:
        size = {"files": {"size": "1Gi"}, "database": {"storage": "20Gi"}}
        old = tenant(plan="Dedicated")
        assert validate_tenant(tenant(plan="Dedicated", size=size), old, world()) == [
            "spec.size.files.size cannot be 1Gi: the volume has 20Gi already and cannot shrink; give 20Gi or more"
        ]
        assert validate_tenant(tenant(plan="Dedicated", size=size), None, world()) == []

    def test_tenancy_and_region_of_a_server(self) -> None:
        two = world(regions=frozenset({"jp", "jp-west"}))
        assert validate_server(server(tenancy="Dedicated", region="jp-west"), server(), two) == [
            "spec.tenancy cannot be changed: make a new server with the other tenancy",
            "spec.region cannot be changed: pods and volumes stay in their region; make a new server there",
        ]


class TestHost:
    TAKEN = "Host acme.elink.example is taken by tenant acme: set spec.host to another name"

    @pytest.mark.parametrize("host", ["acme", "acme.elink.example"])
    def test_taken_in_any_spelling(self, host: str) -> None:
        assert validate_tenant(tenant("other", host=host, meta=LATER), None, world(tenant())) == [self.TAKEN]

    def test_taken_whatever_the_case(self) -> None:
        assert validate_tenant(
            tenant("other", host="acme", meta=LATER), None, world(tenant(), base_domain="ELINK.Example.")
        ) == [self.TAKEN]

    def test_a_prefix_is_another_host(self) -> None:
        assert validate_tenant(tenant("acme2"), None, world(tenant())) == []

    def test_moving_to_a_claimed_host_is_refused_even_for_an_elder(self) -> None:
        young = tenant("young", meta=LATER)
        moved = tenant("old", host="young")
        assert validate_tenant(moved, tenant("old"), world(young, tenant("old"))) == [
            "Host young.elink.example is taken by tenant young: set spec.host to another name"
        ]

    def test_of_two_rivals_the_elder_stays(self) -> None:
        elder, rival = tenant(), tenant("other", host="acme", meta=LATER)
        both = world(elder, rival)
        assert validate_tenant(elder, elder, both) == []
        assert validate_tenant(rival, rival, both) == [self.TAKEN]

    def test_whoever_serves_the_host_stays_even_when_younger(self) -> None:
        serving = tenant("young", meta=LATER, status=ready("young"))
        late = tenant("old", host="young", status=ready("old"))
        both = world(serving, late)
        assert validate_tenant(serving, serving, both) == []
        assert validate_tenant(late, late, both) == [
            "Host young.elink.example is taken by tenant young: set spec.host to another name"
        ]

    def test_rivals_born_in_the_same_second_are_told_apart_by_name(self) -> None:
        a, b = tenant("a", host="x"), tenant("b", host="x")
        refused = [t.name for t in (a, b) if validate_tenant(t, t, world(a, b))]
        assert refused == ["b"]

    def test_freed_by_removal_and_by_change(self) -> None:
        live = world(tenant())
        live.put_tenant(tenant(host="elsewhere"))
        assert validate_tenant(tenant("other", host="acme"), None, live) == []
        live.remove_tenant("acme")
        assert validate_tenant(tenant("other", host="elsewhere"), None, live) == []

    def test_platform_domain(self) -> None:
        assert validate_tenant(tenant(host="elink.example"), None, world()) == [
            "Host elink.example is the platform's own domain: set spec.host to a name under it or to another domain"
        ]

    def test_two_labels_under_the_platform_domain(self) -> None:
        assert validate_tenant(tenant(host="a.b.elink.example"), None, world()) == [
            "Host a.b.elink.example has more than one label before elink.example, which the platform's certificate "
            "does not cover: use one label"
        ]
        assert validate_tenant(tenant(host="a.b.notelink.example"), None, world()) == []

    def test_too_long_with_the_platform_domain(self) -> None:
        domain = ".".join(["d" * 60] * 4)
        assert validate_tenant(tenant("a" * 63), None, world(base_domain=domain))[0] == (
            f"The full host name of tenant {'a' * 63} would have 307 characters, "
            "253 are allowed: set a shorter spec.host"
        )


class TestNames:
    LONG = "a" * 63

    def test_the_longest_name_fits(self) -> None:
        assert validate_tenant(tenant(self.LONG), None, world()) == []
        assert validate_server(server(self.LONG), None, world()) == []

    def test_ids_that_collide(self) -> None:
        thief = naming.short_id(self.LONG)
        assert validate_tenant(tenant(thief, meta=LATER), None, world(tenant(self.LONG))) == [
            f"Tenant {thief} would get the ID {thief}, which tenant {self.LONG} has: choose another name"
        ]
        assert (
            validate_tenant(tenant(self.LONG), tenant(self.LONG), world(tenant(self.LONG), tenant(thief, meta=LATER)))
            == []
        )

    def test_two_servers_in_one_postgresql(self) -> None:
        external = {"mode": "External", "secretRef": {"name": "pg-tokyo"}}
        first, second = server("one", database=external), server("two", meta=LATER, database=external)
        assert validate_server(second, None, world(first)) == [
            "database.secretRef pg-tokyo is the one of server one: each server needs a PostgreSQL of its own"
        ]
        assert validate_server(first, first, world(first, second)) == []
        other = {"mode": "External", "secretRef": {"name": "pg-tokyo-2"}}
        assert validate_server(server("two", meta=LATER, database=other), None, world(first, server("three"))) == []

    def test_server_ids_that_collide(self) -> None:
        thief = naming.short_id(self.LONG)
        assert validate_server(server(thief, meta=LATER), None, world(server(self.LONG))) == [
            f"Server {thief} would get the ID {thief}, which server {self.LONG} has: choose another name"
        ]
        assert validate_tenant(tenant(thief, plan="Dedicated"), None, world(server(self.LONG))) == [
            f"The server of tenant {thief} would get the ID {thief}, which server {self.LONG} has: "
            "choose another tenant name"
        ]

    def test_a_name_that_would_not_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(naming, "backup_cronjob", lambda name: f"backup-{name}")
        long_name = "b" * 46
        assert validate_tenant(tenant(long_name), None, world()) == [
            f"Name {long_name} is too long: backup-{long_name} would have more than 52 characters; "
            "choose a shorter name"
        ]


class TestPin:
    ADVICE = "choose another server, or remove spec.server to let one be chosen"

    def test_good(self) -> None:
        assert validate_tenant(tenant(server="shared-1"), None, world(server())) == []

    def test_unknown(self) -> None:
        assert validate_tenant(tenant(server="nowhere"), None, world(server())) == [
            "Server nowhere does not exist: set spec.server to one that 'kubectl get es' lists, or remove it"
        ]

    def test_cordoned(self) -> None:
        assert validate_tenant(tenant(server="shared-1"), None, world(server(cordoned=True))) == [
            f"Server shared-1 is cordoned and takes no new tenant: {self.ADVICE}"
        ]

    def test_dedicated(self) -> None:
        assert validate_tenant(tenant(server="shared-1"), None, world(server(tenancy="Dedicated"))) == [
            f"Server shared-1 is Dedicated and takes no other tenant: {self.ADVICE}"
        ]

    def test_elsewhere(self) -> None:
        two = world(server(region="jp-west"), regions=frozenset({"jp", "jp-west"}))
        assert validate_tenant(tenant(server="shared-1"), None, two) == [
            f"Server shared-1 is in region jp-west but tenant acme belongs in jp: {self.ADVICE}"
        ]

    def test_deleting(self) -> None:
        going = server(meta={"deletionTimestamp": "2026-06-01T00:00:00Z"})
        assert validate_tenant(tenant(server="shared-1"), None, world(going)) == [
            f"Server shared-1 is being deleted: {self.ADVICE}"
        ]

    def test_full_by_residents_and_by_pins(self) -> None:
        full = world(server(maxTenants=2), tenant("a", status={"server": "shared-1"}), tenant("b", server="shared-1"))
        assert validate_tenant(tenant(server="shared-1"), None, full) == [
            f"Server shared-1 is full (2 of 2 tenants): {self.ADVICE}"
        ]

    def test_a_tenant_does_not_count_itself(self) -> None:
        pinned = tenant(server="shared-1")
        assert validate_tenant(pinned, pinned, world(server(maxTenants=1), pinned)) == []

    def test_of_two_rivals_for_the_last_place_one_gets_it(self) -> None:
        first, second = tenant("first", server="shared-1"), tenant("second", server="shared-1", meta=LATER)
        both = world(server(maxTenants=1), first, second)
        assert validate_tenant(first, first, both) == []
        assert validate_tenant(second, second, both) == [f"Server shared-1 is full (1 of 1 tenant): {self.ADVICE}"]

    def test_a_resident_stays_whatever_happens_to_the_server(self) -> None:
        resident = tenant(server="shared-1", status={"server": "shared-1"})
        assert (
            validate_tenant(resident, resident, world(server(cordoned=True, maxTenants=1), resident, tenant("b"))) == []
        )

    def test_a_resident_cannot_be_moved_by_the_pin(self) -> None:
        home = {"server": "shared-1"}
        assert validate_tenant(
            tenant(server="shared-2", status=home), tenant(status=home), world(server("shared-2"))
        ) == [
            "Tenant acme lives on server shared-1 and would have to move: set spec.server to shared-1 or remove it, "
            'or set the annotation elink-lc.com/move: "true" in the same change'
        ]
        moved = tenant(server="shared-2", status=home, meta=MOVE)
        assert validate_tenant(moved, tenant(status=home), world(server("shared-2"))) == []
        full = world(server("shared-2", maxTenants=1), tenant("other", server="shared-2"))
        assert "Server shared-2 is full" in validate_tenant(moved, tenant(status=home), full)[0]


class TestOwnServer:
    def test_good_before_and_after_the_server_was_made(self) -> None:
        owner = tenant(plan="Dedicated")
        own = server("acme", tenancy="Dedicated", meta=owned_by(owner))
        assert validate_tenant(owner, None, world()) == []
        assert validate_tenant(owner, owner, world(own)) == []
        assert validate_server(own, None, world(owner)) == []

    def test_name_taken_by_a_server_of_others(self) -> None:
        assert validate_tenant(tenant(plan="Dedicated"), None, world(server("acme"))) == [
            "A server named acme exists and is not this tenant's: choose another tenant name"
        ]
        assert validate_tenant(tenant(), None, world(server("acme"))) == []

    def test_server_of_an_earlier_tenant_of_the_same_name(self) -> None:
        earlier = tenant(plan="Dedicated", meta={"uid": "earlier"})
        left = server("acme", tenancy="Dedicated", meta=owned_by(earlier))
        assert validate_tenant(tenant(plan="Dedicated"), None, world(left)) == [
            "The server of an earlier tenant named acme is still being removed: "
            "wait until 'kubectl get es' no longer lists it, then try again"
        ]

    def test_a_working_server_whose_name_a_tenant_took_later_goes_on(self) -> None:
        late = tenant(plan="Dedicated", meta=LATER)
        known = world(server("acme"), late)
        assert validate_server(server("acme"), server("acme"), known) == []
        assert "is not this tenant's" in validate_tenant(late, late, known)[0]

    def test_server_name_kept_for_a_dedicated_tenant(self) -> None:
        assert validate_server(server("acme"), None, world(tenant(plan="Dedicated"))) == [
            "The name acme is kept for the server of the Dedicated tenant acme: choose another name"
        ]
        assert validate_server(server("acme"), None, world(tenant())) == []


class TestDeletion:
    @pytest.mark.parametrize("state", ["Active", "Suspended"])
    def test_tenant_that_is_not_cancelled(self, state: str) -> None:
        assert validate_delete_tenant(tenant(state=state)) == [
            f"Tenant acme is {state}: deleting it would erase the customer's data and backups. "
            "Set spec.state to Cancelled first, or confirm with "
            "'kubectl annotate et acme elink-lc.com/confirm-erasure=acme' and delete again"
        ]

    def test_cancelled(self) -> None:
        assert validate_delete_tenant(tenant(state="Cancelled")) == []

    @pytest.mark.parametrize(("value", "allowed"), [("acme", True), ("", False), ("Acme", False), ("true", False)])
    def test_confirmed_by_its_exact_name(self, value: str, allowed: bool) -> None:
        confirmed = tenant(meta={"annotations": {"elink-lc.com/confirm-erasure": value}})
        assert (validate_delete_tenant(confirmed) == []) is allowed

    def test_server_with_tenants(self) -> None:
        names = ["a", "b", "c", "d"]
        full = world(server(), *(tenant(name, status={"server": "shared-1"}) for name in names))
        assert validate_delete_server(server(), full) == [
            "Server shared-1 still has 4 tenants (a, b, c, ...): cancel and delete them first"
        ]

    def test_server_on_which_a_tenant_is_being_made(self) -> None:
        """Placed, and nothing of it in its status yet: the server must not go from under it."""
        made = tenant(meta={"annotations": {"elink-lc.com/placed-on": "shared-1"}})
        assert "still has 1 tenant (acme)" in validate_delete_server(server(), world(made))[0]
        assert validate_delete_server(server("shared-2"), world(made)) == []

    def test_server_whose_tenants_are_still_being_erased(self) -> None:
        going = tenant("a", status={"server": "shared-1"}, meta={"deletionTimestamp": "2026-06-01T00:00:00Z"})
        assert validate_delete_server(server(), world(server(), going)) == [
            "Server shared-1 still has 1 tenant (a): cancel and delete them first"
        ]

    def test_empty_server(self) -> None:
        assert validate_delete_server(server(), world(server(), tenant("shared-10"))) == []

    @pytest.mark.parametrize("dedicated", [False, True])
    def test_server_whose_tenants_moved_away(self, dedicated: bool) -> None:
        """Nobody is told to delete tenants that work on another server."""
        away = tenant(meta=MOVE, status={"server": "shared-2"})
        old = server("acme", tenancy="Dedicated", meta=owned_by(away)) if dedicated else server("shared-1")
        ended = {"move": "shared-2", "source": old.name, "phase": "Succeeded", "step": "KeepOld"}
        [refusal] = validate_delete_server(old, world(old, away, restore("move-acme-2", **ended)))
        assert refusal.startswith(f"Server {old.name} still has data of 1 tenant that moved away or comes (acme)")
        lost = restore("move-acme-2", **ended, from_backup=True)
        assert validate_delete_server(old, world(old, away, lost)) == [], "it may never answer again"
        removing = restore("move-acme-2", **{**ended, "step": "RemoveSource"})
        allowed = validate_delete_server(old, world(old, away, removing)) == []
        assert allowed is dedicated, "the operator removes a server of the tenant's own with what is on it"

    def test_dedicated_server_goes_with_its_tenant_only(self) -> None:
        owner = tenant(plan="Dedicated")
        own = server("acme", tenancy="Dedicated", meta=owned_by(owner))
        assert validate_delete_server(own, world(owner, own)) == [
            "Server acme belongs to the Dedicated tenant acme: "
            "cancel and delete the tenant instead, the server goes with it"
        ]
        going = tenant(plan="Dedicated", meta={"deletionTimestamp": "2026-06-01T00:00:00Z"})
        assert validate_delete_server(own, world(going, own)) == []
        assert validate_delete_server(own, world(own)) == []


def test_one_check_does_not_grow_with_the_number_of_tenants() -> None:
    import time

    many = world(server(maxTenants=2000), *(tenant(f"t{number}") for number in range(3000)))
    newcomer = tenant("newcomer", server="shared-1")
    started = time.process_time()
    for _ in range(200):
        assert validate_tenant(newcomer, None, many) == []
    assert (time.process_time() - started) / 200 < 0.001
