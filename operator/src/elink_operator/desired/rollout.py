"""How a changed Deployment or StatefulSet takes effect.

In place when only resources differ (docs/adr/0004); not at all when nobody but a new release of the operator wants it
(docs/adr/0009).
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from elink_operator import naming
from elink_operator.api.schema import quantity_value
from elink_operator.desired.pod import Obj

TEMPLATE_HASH = f"{naming.GROUP}/template-hash"
RESOURCES_HASH = f"{naming.GROUP}/resources-hash"
INPUTS_HASH = f"{naming.GROUP}/inputs-hash"
RESIZED = f"{naming.GROUP}/resized"


@dataclass(frozen=True)
class Rollout:
    """The workload to apply and, while pods run with older resources, what each container should have now.

    `held`: this release of the operator would write another pod template, which waits for the server's next version.
    """

    workload: Obj
    resize: dict[str, Obj] | None
    held: bool = False


def container_resources(template: Obj) -> dict[str, Obj]:
    """`resources` by container name."""
    return {c["name"]: c.get("resources", {}) for c in template["spec"]["containers"]}


def plan_deployment(desired: Obj, live: Mapping[str, Any] | None, *, in_place: bool = True) -> Rollout:
    """Decide between a rolling update and a resize of the running pods.

    A Deployment whose template differs only in resources is paused: the template tells the truth, the ReplicaSet is
    not replaced, and the pods are resized. The next real change unpauses it and rolls everything. `in_place=False`
    forces the rolling update, when the API server has refused the resize.
    """
    workload, held = _held_back(_marked(desired), live)
    if live is None or not in_place or not _only_resources_differ_or_differed(workload, live):
        return Rollout(_paused(workload, paused=False), None, held)
    return Rollout(_paused(workload, paused=True), container_resources(workload["spec"]["template"]), held)


def plan_statefulset(desired: Obj, live: Mapping[str, Any] | None) -> Rollout:
    """With `OnDelete` the template may change freely: `pod_is_outdated` tells whether a restart is needed."""
    workload, held = _held_back(_marked(desired), live)
    template = workload["spec"]["template"]
    template["metadata"].setdefault("annotations", {})[TEMPLATE_HASH] = workload["metadata"]["annotations"][
        TEMPLATE_HASH
    ]
    return Rollout(workload, container_resources(template), held)


def _held_back(workload: Obj, live: Mapping[str, Any] | None) -> tuple[Obj, bool]:
    """The workload with the live pod template (and the wanted resources), when only the operator itself changed."""
    was = (live or {}).get("metadata", {}).get("annotations", {})
    now = workload["metadata"]["annotations"]
    if live is None or was.get(INPUTS_HASH) != now[INPUTS_HASH] or was.get(TEMPLATE_HASH) in (None, now[TEMPLATE_HASH]):
        return workload, False
    wanted = container_resources(workload["spec"]["template"])
    template = copy.deepcopy(live["spec"]["template"])
    for container in template["spec"]["containers"]:
        container["resources"] = wanted.get(container["name"], container.get("resources", {}))
    workload["spec"]["template"] = template
    now[TEMPLATE_HASH] = was[TEMPLATE_HASH]
    return workload, True


def pod_is_outdated(pod: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    """True when a pod of an `OnDelete` StatefulSet came from a template that differs in more than resources."""
    annotations = pod["metadata"].get("annotations", {})
    return bool(annotations.get(TEMPLATE_HASH) != workload["metadata"]["annotations"][TEMPLATE_HASH])


def needs_resize(pod: Mapping[str, Any], wanted: Mapping[str, Obj]) -> list[Obj]:
    """The containers of a pod that lack an amount of `wanted`, as a patch for `resize`.

    What a pod has beyond it is no difference: the API server fills in requests from limits.
    """
    return [
        {"name": container["name"], "resources": wanted[container["name"]]}
        for container in pod["spec"]["containers"]
        if container["name"] in wanted and not _has(container.get("resources", {}), wanted[container["name"]])
    ]


def keeps_a_limit(pod: Mapping[str, Any], wanted: Mapping[str, Obj]) -> bool:
    """True when a container has a limit that `wanted` does not name: a resize changes limits, and removes none."""
    return any(
        set(container.get("resources", {}).get("limits") or {}) - set(wanted[container["name"]].get("limits") or {})
        for container in pod["spec"]["containers"]
        if container["name"] in wanted
    )


def _only_resources_differ_or_differed(workload: Obj, live: Mapping[str, Any]) -> bool:
    was = live["metadata"].get("annotations", {})
    now = workload["metadata"]["annotations"]
    if was.get(TEMPLATE_HASH) != now[TEMPLATE_HASH]:
        return False
    if was.get(RESIZED) == "true":
        return True
    return was.get(RESOURCES_HASH) != now[RESOURCES_HASH] and _is_settled(live)


def _is_settled(live: Mapping[str, Any]) -> bool:
    """No rolling update is under way: pausing one half-way would leave pods of two kinds."""
    status = live.get("status", {})
    replicas = live["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == replicas == status.get("replicas", 0)
    )


def _marked(desired: Obj) -> Obj:
    workload = copy.deepcopy(desired)
    template = workload["spec"]["template"]
    bare = copy.deepcopy(template)
    for container in bare["spec"]["containers"]:
        container.pop("resources", None)
    workload["metadata"].setdefault("annotations", {}).update(
        {TEMPLATE_HASH: _digest(bare), RESOURCES_HASH: _digest(container_resources(template))}
    )
    return workload


def _paused(workload: Obj, *, paused: bool) -> Obj:
    workload["spec"]["paused"] = paused
    workload["metadata"]["annotations"][RESIZED] = "true" if paused else "false"
    return workload


def _has(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """All requests and limits; quantities are compared as numbers, because the API server rewrites them."""
    return _amounts(wanted).items() <= _amounts(live).items()


def _amounts(resources: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    return {
        (bound, resource): quantity_value(str(amount))
        for bound in ("requests", "limits")
        for resource, amount in (resources.get(bound) or {}).items()
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
