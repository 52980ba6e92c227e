"""Deletions, confirmed and cascading; status bounds; the scale subresource: all inside the API server."""

from __future__ import annotations

import json

import pytest
from elink_operator.api import ElinkTenant
from elink_operator.api.admission import validate_delete_tenant

from tests.operator.admission.conftest import Webhook
from tests.operator.admission.objects import API, create, server_body, set_status, tenant_body
from tests.support.apiserver import ApiServer
from tests.support.kubectl import Kubectl, KubectlError, eventually

pytestmark = pytest.mark.apiserver

OPERATOR = "system:serviceaccount:elink-system:elink-operator"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
HELD = {"finalizers": ["elink-lc.com/erasure"]}


def allow(server: ApiServer, user: str) -> None:
    """Every right on our kinds, so that only admission can refuse."""
    server.kubectl.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "elink-test"},
            "rules": [{"apiGroups": ["elink-lc.com"], "resources": ["*"], "verbs": ["*"]}],
        }
    )
    server.kubectl.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"elink-test-{user.rpartition(':')[2]}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "elink-test"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
    eventually(lambda: server.kubectl.run("auth", "can-i", "delete", "elinkservers", f"--as={user}"), timeout=60)


def delete(kubectl: Kubectl, kind: str, name: str, *options: str) -> str:
    return kubectl.run("delete", kind, name, "--wait=false", *options)


class TestTenantDeletion:
    def test_cancelled(self, refusing: ApiServer, webhook: Webhook) -> None:
        assert create(refusing, tenant_body("del-cancelled"))[0] == 201
        refusing.kubectl.run("patch", "et", "del-cancelled", "--type=merge", "-p", '{"spec":{"state":"Cancelled"}}')
        delete(refusing.kubectl, "et", "del-cancelled")
        assert refusing.kubectl.items("et", "del-cancelled") == []

    def test_confirmed_as_the_refusal_says(self, refusing: ApiServer, webhook: Webhook) -> None:
        assert create(refusing, tenant_body("del-confirmed"))[0] == 201
        sentence = refusing.kubectl.refused("delete", "et", "del-confirmed")
        command = sentence.partition("'kubectl ")[2].partition("'")[0]
        refusing.kubectl.run(*command.split())
        delete(refusing.kubectl, "et", "del-confirmed")
        assert refusing.kubectl.items("et", "del-confirmed") == []

    def test_the_policy_says_what_the_rules_say(self, refusing: ApiServer) -> None:
        assert create(refusing, tenant_body("del-same"))[0] == 201
        said = refusing.kubectl.refused("delete", "et", "del-same")
        rules = validate_delete_tenant(ElinkTenant.parse(tenant_body("del-same")))
        assert said.strip().endswith(f"denied request: {rules[0]}.")

    def test_a_collection_is_judged_one_by_one(self, refusing: ApiServer) -> None:
        meta = {"labels": {"group": "collection"}}
        assert create(refusing, tenant_body("del-all", meta=meta))[0] == 201
        status, answer = refusing.request("DELETE", f"{API}/elinktenants?labelSelector=group%3Dcollection")
        assert (status, b"del-all is Active" in answer) == (403, True)
        assert len(refusing.kubectl.items("et", "-l", "group=collection")) == 1

    def test_a_second_delete_and_the_finalizer(self, refusing: ApiServer, webhook: Webhook) -> None:
        assert create(refusing, tenant_body("del-held", meta=HELD))[0] == 201
        refusing.kubectl.run("annotate", "et", "del-held", "elink-lc.com/confirm-erasure=del-held")
        delete(refusing.kubectl, "et", "del-held")
        refusing.kubectl.run("annotate", "et", "del-held", "elink-lc.com/confirm-erasure-")
        delete(refusing.kubectl, "et", "del-held")
        patch = '[{"op":"remove","path":"/metadata/finalizers"}]'
        refusing.kubectl.run("patch", "et", "del-held", "--type=json", "-p", patch)
        assert refusing.kubectl.items("et", "del-held") == []


class TestServerDeletion:
    def test_empty(self, refusing: ApiServer, webhook: Webhook) -> None:
        assert create(refusing, server_body("del-empty"))[0] == 201
        delete(refusing.kubectl, "es", "del-empty")
        assert refusing.kubectl.items("es", "del-empty") == []

    @pytest.mark.parametrize("who", [OPERATOR, COLLECTOR])
    def test_a_dedicated_server_goes_with_its_tenant(self, who: str, refusing: ApiServer, webhook: Webhook) -> None:
        admin, name = refusing.kubectl, f"del-own-{who.rpartition(':')[2]}"
        allow(refusing, who)
        allow(refusing, "platform")
        assert create(refusing, tenant_body(name, plan="Dedicated", meta=HELD))[0] == 201
        owner = admin.json("get", "et", name)["metadata"]
        reference = {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "name": name,
            "uid": owner["uid"],
            "controller": True,
        }
        own = server_body(name, tenancy="Dedicated", meta={"ownerReferences": [reference]})
        assert eventually(lambda: create(refusing, own)[0] == 201, timeout=60)
        set_status(refusing, "es", name, {"tenants": 1})

        admin.run("patch", "et", name, "--type=merge", "-p", '{"spec":{"state":"Cancelled"}}')
        delete(admin, "et", name)
        assert "belongs to a Dedicated tenant" in admin.refused("delete", "es", name, "--as=platform")
        eventually(lambda: delete(admin, "es", name, f"--as={who}"), timeout=60)
        assert admin.items("es", name) == []
        admin.run("patch", "et", name, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
        assert admin.items("et", name) == []

    def test_a_living_tenants_server_stays_even_for_the_operator(self, refusing: ApiServer, webhook: Webhook) -> None:
        allow(refusing, OPERATOR)
        assert create(refusing, tenant_body("del-living", plan="Dedicated"))[0] == 201
        uid = refusing.kubectl.json("get", "et", "del-living")["metadata"]["uid"]
        reference = {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "name": "del-living",
            "uid": uid,
            "controller": True,
        }
        own = server_body("del-living", tenancy="Dedicated", meta={"ownerReferences": [reference]})
        eventually(lambda: create(refusing, own)[0] == 201, timeout=60)
        said = refusing.kubectl.refused("delete", "es", "del-living", f"--as={OPERATOR}")
        assert "Server del-living belongs to the Dedicated tenant del-living" in said


class TestStatus:
    def test_erasure_is_never_later_than_thirty_days(self, refusing: ApiServer) -> None:
        assert create(refusing, tenant_body("status-erase"))[0] == 201
        with pytest.raises(KubectlError, match=r"status\.eraseAfter must be at most 30 days after"):
            set_status(
                refusing,
                "et",
                "status-erase",
                {"cancelledAt": "2026-01-01T00:00:00Z", "eraseAfter": "2026-01-31T00:00:01Z"},
            )
        with pytest.raises(KubectlError, match=r"status\.eraseAfter must be at most 30 days after"):
            set_status(refusing, "et", "status-erase", {"eraseAfter": "2026-01-31T00:00:00Z"})
        good = {"cancelledAt": "2026-01-01T00:00:00Z", "eraseAfter": "2026-01-15T00:00:00+09:00"}
        set_status(refusing, "et", "status-erase", good)
        with pytest.raises(KubectlError, match=r"status\.eraseAfter cannot be put off"):
            set_status(refusing, "et", "status-erase", {"eraseAfter": "2026-01-16T00:00:00Z"})
        set_status(refusing, "et", "status-erase", {"cancelledAt": None, "eraseAfter": None})

    def test_nothing_is_filled_in(self, refusing: ApiServer) -> None:
        assert create(refusing, tenant_body("status-empty"))[0] == 201
        set_status(refusing, "et", "status-empty", {"backup": {"generations": 1}})
        assert refusing.kubectl.json("get", "et", "status-empty")["status"] == {"backup": {"generations": 1}}

    def test_every_field_of_the_models_is_kept(self, refusing: ApiServer) -> None:
        assert create(refusing, tenant_body("status-full"))[0] == 201
        now = "2026-07-01T00:00:00Z"
        body = tenant_body("status-full")
        body["status"] = {
            "conditions": [{"type": "Ready", "status": "True", "reason": "Up", "lastTransitionTime": now}],
            "backup": {"generations": 7, "newest": now, "bytes": 2**40, "verifiedAt": now},
            "restoreDrill": {"at": now, "generation": "20260701T000000Z", "result": "Succeeded", "seconds": 9},
            "cancelledAt": now,
            "eraseAfter": now,
            "erasure": {"startedAt": now, "steps": [{"name": "Route", "at": now}], "neighbours": {"t_a": 2**33}}
            | {"neighbourTables": {"tables": ["address"], "databases": {"t_a": "16384 1 1"}}},
            "lastReconcileTime": now,
        }
        full = ElinkTenant.parse(body).status.dump()
        set_status(refusing, "et", "status-full", full)
        assert refusing.kubectl.json("get", "et", "status-full")["status"] == full

    def test_spec_writes_cannot_touch_it(self, refusing: ApiServer) -> None:
        body = tenant_body("status-spec")
        body["status"] = {"phase": "Active"}
        assert create(refusing, body)[0] == 201
        assert "status" not in refusing.kubectl.json("get", "et", "status-spec")


@pytest.mark.parametrize("how", ["true", "from-backup"])
def test_a_plan_is_changed_with_either_annotation_that_moves(how: str, refusing: ApiServer, webhook: Webhook) -> None:
    """From the store too: a Dedicated tenant whose server is lost comes back on a Shared one (docs/moving.md)."""
    name = f"plan-{how}"
    assert create(refusing, tenant_body(name, plan="Dedicated"))[0] == 201
    asked = {"metadata": {"annotations": {"elink-lc.com/move": how}}, "spec": {"plan": "Shared"}}
    wrong = {"metadata": {"annotations": {"elink-lc.com/move": "yes"}}, "spec": {"plan": "Shared"}}
    said = refusing.kubectl.refused("patch", "et", name, "--type=merge", "-p", json.dumps(wrong))
    assert "spec.plan cannot be changed just like that" in said
    refusing.kubectl.run("patch", "et", name, "--type=merge", "-p", json.dumps(asked))


def test_scale_subresource(refusing: ApiServer, webhook: Webhook) -> None:
    assert create(refusing, server_body("scaled"))[0] == 201
    selector = "elink-lc.com/component=web"
    set_status(refusing, "es", "scaled", {"app": {"replicas": 2, "selector": selector}})
    refusing.kubectl.run("scale", "es/scaled", "--replicas=5")
    assert refusing.kubectl.json("get", "es", "scaled")["spec"]["app"]["replicas"] == 5
    scale = json.loads(refusing.request("GET", f"{API}/elinkservers/scaled/scale")[1])
    assert (scale["spec"], scale["status"]) == ({"replicas": 5}, {"replicas": 2, "selector": selector})
    assert "should be less than or equal to 50" in refusing.kubectl.refused("scale", "es/scaled", "--replicas=51")


def test_a_dedicated_server_is_scaled_at_its_tenant(refusing: ApiServer, webhook: Webhook) -> None:
    """The operator would put the number back, and whoever scaled would look for the reason."""
    admin, name = refusing.kubectl, "scale-own"
    assert create(refusing, tenant_body(name, plan="Dedicated", size={"app": {"replicas": 2}}))[0] == 201
    uid = admin.json("get", "et", name)["metadata"]["uid"]
    reference = {"apiVersion": "elink-lc.com/v1", "kind": "ElinkTenant", "name": name, "uid": uid, "controller": True}
    own = server_body(name, tenancy="Dedicated", meta={"ownerReferences": [reference]}, app={"replicas": 2})
    eventually(lambda: create(refusing, own)[0] == 201, timeout=60)
    scale = ("scale", f"es/{name}", "--replicas=5")
    # kubectl scale has no dry run at the server: the first that is refused shows that the webhook's cache has come.
    edit = ("patch", "es", name, "--type=merge", "-p", '{"spec":{"app":{"replicas":5}}}')
    said = eventually(lambda: admin.refused(*edit, "--dry-run=server"), timeout=60)
    assert f"change spec.size.app of the tenant instead ('kubectl edit et {name}')" in said
    said = admin.refused(*scale)
    assert f"'kubectl patch et {name} --type=merge -p" in said
    assert '{"spec":{"size":{"app":{"replicas":5}}}}' in said
    assert admin.json("get", "es", name)["spec"]["app"]["replicas"] == 2
    admin.run("patch", "es", name, "--type=merge", "-p", '{"spec":{"cordoned":true}}')
    allow(refusing, OPERATOR)
    eventually(lambda: admin.run(*edit, f"--as={OPERATOR}"), timeout=60)


def test_a_server_with_an_autoscaler_is_not_scaled_by_hand(refusing: ApiServer, webhook: Webhook) -> None:
    admin = refusing.kubectl
    assert create(refusing, server_body("scale-auto", app={"autoscaling": {"min": 2, "max": 4}}))[0] == 201
    said = eventually(lambda: admin.refused("scale", "es/scale-auto", "--replicas=3"), timeout=60)
    assert "set spec.app.autoscaling.min and max instead" in said


def test_get_shows_what_people_ask(refusing: ApiServer) -> None:
    head = refusing.kubectl.run("get", "et").splitlines()[0].split("  ")
    assert [word.strip() for word in head if word.strip()] == [
        "NAME", "READY", "PHASE", "PLAN", "SERVER", "URL", "VERSION", "LAST BACKUP", "REASON", "AGE",
    ]  # fmt: skip
    listed = refusing.kubectl.run("api-resources", "--categories=elink", "-o", "name").split()
    assert sorted(listed) == ["elinkrestores.elink-lc.com", "elinkservers.elink-lc.com", "elinktenants.elink-lc.com"]
    assert "spread" in refusing.kubectl.run("explain", "es.spec.files.accessMode")


@pytest.mark.parametrize("plural", ["elinkservers", "elinktenants", "elinkrestores", "elinkerasures", "elinkchanges"])
def test_a_definition_is_not_deleted_unconfirmed(plural: str, refusing: ApiServer) -> None:
    """With it every object of its kind would go, past the rules for each of them."""
    name = f"{plural}.elink-lc.com"
    # The API server follows a new policy within moments; until then a trial harms nobody.
    ask = ("delete", "crd", name, "--dry-run=server")
    assert f"elink-lc.com/confirm-erasure={name}" in eventually(lambda: refusing.kubectl.refused(*ask), timeout=60)


class TestErasureRecords:
    def test_only_the_operator_writes_one_and_nobody_removes_or_changes_it(self, refusing: ApiServer) -> None:
        admin = refusing.kubectl
        record = {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkErasure",
            "metadata": {"name": "erasure-00000001"},
            "spec": {
                **dict.fromkeys(("cancelledAt", "eraseAfter", "neighbours", "server"), ""),
                **dict.fromkeys(("startedAt", "erasedAt"), "2026-01-01T00:00:00+09:00"),
                "sequence": 1,
                "tenant": "gone",
                "tenantUid": "1",
                "plan": "Shared",
                "stores": [],
                "remains": [],
                **dict.fromkeys(("previous", "hash"), "0" * 64),
            },
        }
        allow(refusing, OPERATOR)
        code, answer = create(refusing, record)
        assert (code, "written by the elink operator only" in answer) == (403, True)
        text = json.dumps(record)
        eventually(lambda: admin.run("create", "-f", "-", f"--as={OPERATOR}", stdin=text), timeout=60)
        assert "cannot be changed" in admin.refused(
            "patch", "ee", "erasure-00000001", "--type=merge", "-p", '{"spec":{"tenant":"other"}}'
        )
        for who in ((), (f"--as={OPERATOR}",)):
            said = admin.refused("delete", "ee", "erasure-00000001", *who)
            assert "ElinkErasure erasure-00000001 proves that a tenant was erased" in said
        admin.run("annotate", "ee", "erasure-00000001", "elink-lc.com/confirm-erasure=erasure-00000001")
        delete(admin, "ee", "erasure-00000001")
        assert admin.items("ee", "erasure-00000001") == []
