"""What the chart renders: golden files for three sets of values, and properties that hold for all of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import helm
from tests.charts.helm import MONITORING_APIS, PRODUCT_APIS, Obj

HERE = Path(__file__).parent
SETS = ("default", "small", "full")


def values(name: str) -> Obj:
    loaded: Obj = json.loads((HERE / "values" / f"{name}.json").read_text())
    return loaded


def render(name: str) -> list[Obj]:
    apis = (*PRODUCT_APIS, *MONITORING_APIS) if name != "default" else PRODUCT_APIS
    return helm.template(values(name), apis=apis)


@pytest.fixture(scope="module", params=SETS)
def objects(request: pytest.FixtureRequest) -> list[Obj]:
    return render(request.param)


def without_certificates(objects: list[Obj]) -> list[Obj]:
    """Certificates are new at every rendering."""
    cleaned = copy.deepcopy(objects)
    for obj in cleaned:
        if obj["kind"] == "Secret":
            obj["data"] = {key: "…" for key in obj["data"]}
        for hook in obj.get("webhooks", []):
            if "caBundle" in hook["clientConfig"]:
                hook["clientConfig"]["caBundle"] = "…"
    return cleaned


def test_lint() -> None:
    helm.run("lint", "--strict", str(helm.CHART))


@pytest.mark.parametrize("name", SETS)
def test_golden(name: str, pytestconfig: pytest.Config) -> None:
    path = HERE / "golden" / f"{name}.yaml"
    rendered = yaml.safe_dump_all(without_certificates(render(name)), allow_unicode=True, width=110)
    if pytestconfig.getoption("update_golden"):
        path.write_text(rendered)
    assert rendered == path.read_text()


def test_pods_are_restricted(objects: list[Obj]) -> None:
    for name, pod in helm.pods(objects):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["spec"]["automountServiceAccountToken"] is (name == "elink-operator"), name
        for container in pod["spec"]["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                assert container.get(probe, {"timeoutSeconds": 5})["timeoutSeconds"] >= 5, f"{name} {probe}"


def test_no_secret_reaches_environment_or_arguments(objects: list[Obj]) -> None:
    for name, pod in helm.pods(objects):
        for container in pod["spec"]["containers"]:
            assert "envFrom" not in container, name
            assert not [e for e in container.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})], name


def test_every_image_can_be_replaced() -> None:
    """All of them from another registry: none of ours is left anywhere."""
    text = json.dumps(render("full"))
    assert "docker.io" not in text
    assert "registry.example.jp/elink/operator@sha256:" in text
    pods = dict(helm.pods(render("full")))
    assert all(pod["spec"]["imagePullSecrets"] == [{"name": "registry"}] for pod in pods.values())
    assert pods["probe"]["spec"]["containers"][0]["image"] == "registry.example.jp/elink/probe:0.2.0"
    containers = [c for pod in pods.values() for c in pod["spec"]["containers"]]
    assert {c["imagePullPolicy"] for c in containers} == {"Always"}


def test_monitoring_follows_the_cluster_and_its_switches() -> None:
    def kinds(mode: str, apis: tuple[str, ...]) -> set[str]:
        found = helm.template({"monitoring": {"podMonitors": mode, "rules": mode}}, apis=apis)
        return {o["kind"] for o in found} & {"PodMonitor", "PrometheusRule"}

    both = {"PodMonitor", "PrometheusRule"}
    assert kinds("auto", ()) == set()
    assert kinds("auto", MONITORING_APIS) == both
    assert kinds("never", MONITORING_APIS) == set()
    assert kinds("always", ()) == both


def test_webhook_certificate_fits_its_service_and_its_authority() -> None:
    from base64 import b64decode

    from cryptography import x509

    objects = helm.template()
    secret = helm.only(objects, "Secret", "elink-webhook")["data"]
    hooks = helm.only(objects, "ValidatingWebhookConfiguration", "elink")["webhooks"]
    certificate = x509.load_pem_x509_certificate(b64decode(secret["tls.crt"]))
    authority = x509.load_pem_x509_certificate(b64decode(secret["ca.crt"]))
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for hook in hooks:
        client = hook["clientConfig"]
        assert client["caBundle"] == secret["ca.crt"]
        service = client["service"]
        assert f"{service['name']}.{service['namespace']}.svc" in names.get_values_for_type(x509.DNSName)
        assert hook["failurePolicy"] == "Ignore"
        assert hook["timeoutSeconds"] == 5


def test_webhook_paths_are_the_handlers_of_the_operator() -> None:
    import kopf
    from elink_operator.handlers import admission, authors

    assert admission.check_tenant, authors.__name__
    registered = {handler.id for handler in kopf.get_default_registry()._webhooks._handlers}
    hooks = helm.only(helm.template(), "ValidatingWebhookConfiguration", "elink")["webhooks"]
    authors = helm.only(helm.template(), "MutatingWebhookConfiguration", "elink")["webhooks"]
    called = {hook["clientConfig"]["service"]["path"].removeprefix("/") for hook in (*hooks, *authors)}
    assert called == registered
    for hook in hooks:
        (rule,) = hook["rules"]
        scale = rule["resources"] == ["elinkservers/scale"]
        assert rule["operations"] == list(admission.CHANGES if scale else admission.OPERATIONS)


def test_another_namespace_is_used_everywhere() -> None:
    text = yaml.safe_dump_all(without_certificates(helm.template(namespace="my-elink")))
    assert "elink-system" not in text


def test_probe_takes_questions_from_the_operator_only() -> None:
    policy = helm.only(helm.template(), "NetworkPolicy", "probe")["spec"]
    assert policy["podSelector"] == {}
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "elink-system"}
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "elink-operator"}


def test_selectors_match_their_pods(objects: list[Obj]) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in helm.pods(objects)}
    operator = labels["elink-operator"].items()
    for obj in objects:
        if obj["kind"] == "Service":
            target = obj["spec"]["selector"].items()
        elif obj["kind"] in {"PodDisruptionBudget", "Deployment"}:
            target = obj["spec"]["selector"]["matchLabels"].items()
        else:
            continue
        assert any(target <= own.items() for own in labels.values()), f"{obj['kind']} {obj['metadata']['name']}"
    assert ("app.kubernetes.io/name", "elink-operator") in operator


def test_operator_policies_match_what_servers_let_in() -> None:
    """Both ends name the same pods: the operator's label here, the labels of PostgreSQL there."""
    from elink_operator import labels
    from elink_operator.desired import networkpolicy

    operator = dict(helm.pods(helm.template()))["elink-operator"]["metadata"]["labels"]
    assert networkpolicy.OPERATOR_POD.items() <= operator.items()
    egress: list[dict[str, Any]] = helm.only(helm.template(), "NetworkPolicy", "elink-operator")["spec"]["egress"]
    to_postgres = next(rule for rule in egress if rule["ports"][0]["port"] == 5432)["to"][0]
    assert to_postgres["podSelector"]["matchLabels"] == labels.component_selector(labels.POSTGRES)
    assert to_postgres["namespaceSelector"]["matchExpressions"] == [{"key": labels.SERVER, "operator": "Exists"}]
