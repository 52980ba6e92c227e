"""The Deployments `web` and `worker`."""

from elink_operator import labels, naming
from elink_operator.desired import app, pod
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.rollout import INPUTS_HASH

AUTOSCALED = f"{naming.GROUP}/autoscaled"
"""Annotation of a Deployment whose number of pods is the autoscaler's."""

_PROGRESS_SECONDS = 600
"""A rolling update that gets nowhere for so long is reported."""

_DRAIN_SECONDS = 5
"""The gateway needs a moment to learn that a pod is leaving; the pod serves on meanwhile."""


def build_web(inputs: ServerInputs) -> Obj:
    """`web`: serves all tenants of the server; no pod leaves before its replacement is ready."""
    wanted = inputs.server.spec.app
    container = app.app_container(inputs, labels.WEB, pod.resources(wanted.resources))
    container["ports"] = [
        {"name": "http", "containerPort": naming.WEB_PORT, "protocol": "TCP"},
        {"name": "metrics", "containerPort": naming.METRICS_PORT, "protocol": "TCP"},
    ]
    container |= _probes()
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}}
    spec = app.app_pod_spec(inputs, container)
    spec["terminationGracePeriodSeconds"] = 30 + _DRAIN_SECONDS
    spec["topologySpreadConstraints"] = [_spread(labels.ZONE), _spread(labels.HOSTNAME)]
    replicas = None if wanted.autoscaling else wanted.replicas
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return _deployment(inputs, naming.WEB, spec, replicas, strategy)


def build_worker(inputs: ServerInputs) -> Obj:
    """`worker`: sends the deliveries; stopped while the tenant of a Dedicated server is suspended."""
    wanted = inputs.server.spec.worker
    container = app.app_container(inputs, labels.WORKER, pod.resources(wanted.resources))
    container["ports"] = [{"name": "metrics", "containerPort": naming.METRICS_PORT, "protocol": "TCP"}]
    if inputs.settings.bounce_domain:
        container["ports"].append({"name": "smtp", "containerPort": naming.INBOUND_PORT, "protocol": "TCP"})
    container |= _probes()
    spec = app.app_pod_spec(inputs, container)
    spec["terminationGracePeriodSeconds"] = 60
    replicas = 0 if inputs.worker_stopped else wanted.replicas
    # Of an image that does not start, deliveries feel nothing: the old worker goes on.
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return _deployment(inputs, naming.WORKER, spec, replicas, strategy)


def _deployment(inputs: ServerInputs, component: str, pod_spec: Obj, replicas: int | None, strategy: Obj) -> Obj:
    spec: Obj = {
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": _PROGRESS_SECONDS,
        "selector": {"matchLabels": labels.component_selector(component)},
        "strategy": strategy,
        "template": {"metadata": app.pod_metadata(inputs, component), "spec": pod_spec},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": component,
            "namespace": inputs.namespace,
            "labels": app.component_labels(inputs, component),
            "annotations": {
                AUTOSCALED: "true" if replicas is None else "false",
                INPUTS_HASH: app.inputs_hash(inputs, inputs.settings.app_image_at(inputs.version)),
            },
        },
        "spec": spec,
    }


def _probes() -> Obj:
    return {
        "startupProbe": pod.http_probe("/healthz", naming.METRICS_PORT, period=1, failures=60),
        "readinessProbe": pod.http_probe("/readyz", naming.METRICS_PORT, period=5, failures=2),
        "livenessProbe": pod.http_probe("/healthz", naming.METRICS_PORT, period=10, failures=6, timeout=5),
    }


def _spread(topology_key: str) -> Obj:
    """Spread when possible: a pod too close to its sibling is better than none."""
    return {
        "maxSkew": 1,
        "topologyKey": topology_key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels.component_selector(labels.WEB)},
    }
