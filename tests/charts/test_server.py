"""The chart on a real API server: every object is accepted, the fence holds, an upgrade keeps the certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.charts import helm
from tests.charts.conftest import install
from tests.charts.helm import NAMESPACE, ROOT, Obj
from tests.charts.test_render import values
from tests.support.apiserver import ApiServer
from tests.support.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.apiserver

OPERATOR = f"--as=system:serviceaccount:{NAMESPACE}:elink-operator"
FENCE = "may write in server namespaces only"


@pytest.mark.parametrize("name", ["default", "small", "full"])
def test_the_api_server_accepts_every_object(server: ApiServer, name: str, tmp_path: Path) -> None:
    """Strictly: an unknown field is an error."""
    chart_values = {
        **values(name),
        "probe": {"enabled": name != "small", "namespace": NAMESPACE, "createNamespace": False},
    }
    chart_values["webhook"] = {**chart_values.get("webhook", {}), "certManager": {"enabled": False}}
    objects = [o for o in helm.template(chart_values) if not o["apiVersion"].startswith("monitoring.coreos.com")]
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    said = server.kubectl.run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert len(said.splitlines()) == len(objects)


def test_installation_is_complete_and_upgrade_keeps_the_certificate(installed: ApiServer) -> None:
    def secret() -> Obj:
        found: Obj = installed.kubectl.json("get", "secret", "elink-webhook", "-n", NAMESPACE)["data"]
        return found

    before = secret()
    install(installed, {"operator": {"replicas": 3}})
    assert secret() == before
    hooks = installed.kubectl.json("get", "validatingwebhookconfiguration", "elink")["webhooks"]
    assert {hook["clientConfig"]["caBundle"] for hook in hooks} == {before["ca.crt"]}
    assert installed.kubectl.json("get", "deploy", "elink-operator", "-n", NAMESPACE)["spec"]["replicas"] == 3


def server_namespace(kubectl: Kubectl, name: str) -> Obj:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"elink-lc.com/server": name.removeprefix("elink-srv-")}},
    }
    kubectl.run("apply", "--server-side", "-f", "-", OPERATOR, stdin=json.dumps(namespace))
    return namespace


def secret(name: str, namespace: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}})


def apply(kubectl: Kubectl, manifest: str) -> str:
    return kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", OPERATOR, stdin=manifest)


def test_the_operator_may_work_where_servers_live(installed: ApiServer) -> None:
    kubectl = installed.kubectl
    server_namespace(kubectl, "elink-srv-fence-1")
    apply(kubectl, secret("tenant-a", "elink-srv-fence-1"))
    for name in ("elink-aozora-master", "elink-aozora-backup-key"):
        apply(kubectl, secret(name, NAMESPACE))
        kubectl.run("delete", "secret", name, "-n", NAMESPACE, OPERATOR)
    kubectl.run("delete", "namespace", "elink-srv-fence-1", "--wait=false", OPERATOR)


@pytest.mark.parametrize("namespace", ["kube-system", "default", "elink-gateway", NAMESPACE])
def test_the_operator_may_not_write_elsewhere(installed: ApiServer, namespace: str) -> None:
    with pytest.raises(KubectlError, match=FENCE):
        apply(installed.kubectl, secret("tenant-a", namespace))


def test_the_operator_may_not_change_or_delete_what_others_have_elsewhere(installed: ApiServer) -> None:
    kubectl = installed.kubectl
    kubectl.run("create", "secret", "generic", "theirs", "-n", "default")
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("delete", "secret", "theirs", "-n", "default", OPERATOR)
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("label", "secret", "theirs", "-n", "default", "a=b", OPERATOR)
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("delete", "secret", "elink-webhook", "-n", NAMESPACE, OPERATOR)
    assert kubectl.items("secret", "-n", "default", "theirs")


def test_the_operator_may_not_take_or_give_away_namespaces(installed: ApiServer) -> None:
    kubectl = installed.kubectl
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("delete", "namespace", "elink-gateway", OPERATOR)
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("label", "namespace", "default", "elink-lc.com/server=x", OPERATOR)
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("create", "namespace", "elink-srv-without-label", OPERATOR)
    server_namespace(kubectl, "elink-srv-fence-2")
    with pytest.raises(KubectlError, match=FENCE):
        kubectl.run("label", "namespace", "elink-srv-fence-2", "elink-lc.com/server-", OPERATOR)


def test_the_fence_is_for_the_operator_only(installed: ApiServer) -> None:
    installed.kubectl.run("create", "secret", "generic", "mine", "-n", "kube-system")


def test_the_operator_makes_drills_and_copies_only(installed: ApiServer) -> None:
    kubectl = installed.kubectl

    def made(kind: str, spec: dict[str, object], **annotations: str) -> str:
        body = {"apiVersion": "elink-lc.com/v1", "kind": kind, "spec": spec,
                "metadata": {"name": "of-the-operator", "annotations": annotations}}  # fmt: skip
        return kubectl.run("create", "--dry-run=server", "-f", "-", OPERATOR, stdin=json.dumps(body))

    tenant: dict[str, object] = {"plan": "Shared", "displayName": "A", "masterAccount": {"email": "a@b.example"}}
    with pytest.raises(KubectlError, match="elink-operator-makes"):
        made("ElinkTenant", tenant)
    with pytest.raises(KubectlError, match="elink-operator-makes"):
        made("ElinkRestore", {"tenant": "aozora", "mode": "InPlace"}, **{"elink-lc.com/confirm-restore": "aozora"})
    made("ElinkTenant", tenant, **{"elink-lc.com/restored-by": "uid"})
    made("ElinkRestore", {"tenant": "aozora", "mode": "Drill"})


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("create", "pods"), ("get", "pods/log"), ("create", "pods/exec"), ("update", "elinktenants"), ("list", "nodes"),
     ("create", "clusterrolebindings"), ("create", "rolebindings"), ("create", "serviceaccounts/token"),
     ("update", "validatingadmissionpolicies"), ("delete", "leases")],
)  # fmt: skip
def test_what_the_operator_may_not_do_at_all(installed: ApiServer, verb: str, resource: str) -> None:
    plural, _, subresource = resource.partition("/")
    said = installed.kubectl.run(
        "auth", "can-i", verb, plural, f"--subresource={subresource}", "-A", OPERATOR, check=False
    )
    assert said.strip() == "no"


def test_examples_are_accepted_by_the_api_server(server: ApiServer) -> None:
    kubectl = server.kubectl
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        kubectl.run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path))
    more = {path.stem: path for path in (ROOT / "examples" / "more").glob("*.yaml")}
    changes = {"cancelled"}
    for name in sorted(set(more) - changes):
        kubectl.run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(more[name]))
    # A tenant is cancelled by a change of one that exists.
    with pytest.raises(KubectlError, match="new tenant"):
        kubectl.run("apply", "--server-side", "--dry-run=server", "-f", str(more["cancelled"]))
    kubectl.run("apply", "--server-side", "--validate=strict", "-f", str(more["suspended"]))
    active = json.dumps([{"op": "replace", "path": "/spec/state", "value": "Active"}])
    kubectl.run("patch", "et", "kasumi", "--type=json", "-p", active)
    kubectl.run("apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", str(more["cancelled"]))
    assert kubectl.json("get", "et", "kasumi")["spec"]["state"] == "Cancelled"
