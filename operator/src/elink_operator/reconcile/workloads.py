"""Deployments and the StatefulSet: rolling update, resize in place, restart of PostgreSQL when it must be."""

from collections.abc import Mapping
from dataclasses import dataclass

from elink_operator import labels, naming
from elink_operator.cluster.errors import Conflict, Invalid, NotFound
from elink_operator.cluster.kinds import DEPLOYMENT, POD, STATEFUL_SET, Obj
from elink_operator.conditions import find
from elink_operator.desired import rollout
from elink_operator.desired.deployment import AUTOSCALED
from elink_operator.reconcile.context import Context

_REVISION = "controller-revision-hash"
"""Label of a StatefulSet's pods: which template they were made from."""


class ResizeRefused(Exception):
    """These pods cannot be resized in place: they must be replaced."""


@dataclass(frozen=True)
class Applied:
    """A workload as it is now; what its resize or restart still waits for (empty: nothing); see `Rollout.held`."""

    live: Obj
    wait: str = ""
    held: bool = False


async def apply_deployment(ctx: Context, desired: Obj) -> Applied:
    """Apply a Deployment, in place when only resources differ."""
    metadata = desired["metadata"]
    live = ctx.store.get(DEPLOYMENT, metadata["namespace"], metadata["name"])
    await _hand_over_replicas(ctx, desired, live)
    plan = rollout.plan_deployment(desired, live)
    if plan.resize is None:
        return Applied(await ctx.applier.apply_if_changed(DEPLOYMENT, plan.workload), held=plan.held)
    # The template first: a pod that is made from now on is compared with it.
    applied = await ctx.applier.apply_if_changed(DEPLOYMENT, plan.workload)
    try:
        return Applied(applied, await _resize_pods(ctx, applied, plan.resize), plan.held)
    except ResizeRefused:
        rolling = rollout.plan_deployment(desired, live, in_place=False)
        return Applied(await ctx.applier.apply_if_changed(DEPLOYMENT, rolling.workload), held=rolling.held)


async def _hand_over_replicas(ctx: Context, desired: Obj, live: Obj | None) -> None:
    """Before `replicas` is left to the autoscaler, give the present number to another field manager.

    A field that its last manager stops applying is removed, and the default of `replicas` is 1: without this, switching
    the autoscaler on would take pods away.
    """
    if live is None or desired["metadata"]["annotations"][AUTOSCALED] != "true":
        return
    if (live["metadata"].get("annotations") or {}).get(AUTOSCALED) == "true":
        return
    metadata = {"name": desired["metadata"]["name"], "namespace": desired["metadata"]["namespace"]}
    replicas = live["spec"].get("replicas", 1)
    kept = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}
    await ctx.client.apply(DEPLOYMENT, kept, manager=naming.HANDOVER_MANAGER)


async def apply_postgres(ctx: Context, desired: Obj) -> Applied:
    """Apply the StatefulSet; resize its pod in place, or replace the pod when more than resources changed."""
    metadata = desired["metadata"]
    plan = rollout.plan_statefulset(desired, ctx.store.get(STATEFUL_SET, metadata["namespace"], metadata["name"]))
    live = await ctx.applier.apply_if_changed(STATEFUL_SET, plan.workload)
    status = live.get("status", {})
    if not status.get("replicas") or status.get("currentRevision") == status.get("updateRevision"):
        return Applied(live, held=plan.held)
    if ctx.memory.resized.get((metadata["namespace"], metadata["name"])) == live["metadata"]["resourceVersion"]:
        return Applied(live, held=plan.held)
    for pod in await _pods(ctx, metadata["namespace"], labels.POSTGRES):
        if rollout.pod_is_outdated(pod, plan.workload):
            await _replace(ctx, pod)
            return Applied(live, "PostgreSQL restarts with its new template", plan.held)
    try:
        return Applied(live, await _resize_pods(ctx, live, plan.resize or {}), plan.held)
    except ResizeRefused:
        for pod in await _pods(ctx, metadata["namespace"], labels.POSTGRES):
            await _replace(ctx, pod)
        return Applied(live, "PostgreSQL restarts, because its pod cannot be resized in place", plan.held)


async def _resize_pods(ctx: Context, workload: Obj, wanted: Mapping[str, Obj]) -> str:
    """Give every pod of the workload the wanted resources; returns what is waited for, empty when all have them."""
    metadata = workload["metadata"]
    key, version = (metadata["namespace"], metadata["name"]), metadata["resourceVersion"]
    if ctx.memory.resized.get(key) == version:
        return ""
    waiting = ""
    newest = workload.get("status", {}).get("updateRevision")
    for pod in await _pods(ctx, metadata["namespace"], metadata["name"]):
        # A pod of the newest template got its limits from somebody else in the cluster: another one would get them too.
        if rollout.keeps_a_limit(pod, wanted) and (not newest or pod["metadata"]["labels"].get(_REVISION) != newest):
            raise ResizeRefused("a limit cannot be taken away from a running pod")
        waiting = await _resize_pod(ctx, pod, wanted) or waiting
    if not waiting:
        ctx.memory.resized[key] = version
    return waiting


async def _resize_pod(ctx: Context, pod: Obj, wanted: Mapping[str, Obj]) -> str:
    containers = rollout.needs_resize(pod, wanted)
    metadata = pod["metadata"]
    if containers:
        try:
            pod = await ctx.client.patch(
                POD,
                metadata["name"],
                {"spec": {"containers": containers}},
                namespace=metadata["namespace"],
                subresource="resize",
                strategic=True,
            )
        except Invalid as error:
            raise ResizeRefused(str(error)) from error
        except NotFound:
            return "a pod was replaced meanwhile"
    return _resize_state(pod, wanted, just_asked=bool(containers))


def _resize_state(pod: Obj, wanted: Mapping[str, Obj], *, just_asked: bool) -> str:
    listed = pod.get("status", {}).get("conditions", ())
    pending = find(listed, "PodResizePending")
    if pending is not None and pending.get("status") == "True":
        if pending.get("reason") == "Infeasible":
            return f"the node cannot give a pod so much: {pending.get('message', '')}"
        return "the node has no room yet for the larger pod; the kubelet tries again"
    if just_asked:
        return "pods are being resized"
    for container in pod.get("status", {}).get("containerStatuses", ()):
        actual = container.get("resources")
        if (
            container["name"] in wanted
            and actual
            and rollout.needs_resize(
                {"spec": {"containers": [{"name": container["name"], "resources": actual}]}}, wanted
            )
        ):
            return "pods are being resized"
    return ""


async def _pods(ctx: Context, namespace: str, component: str) -> list[Obj]:
    pods, _ = await ctx.client.list(POD, namespace=namespace, label_selector=f"{labels.COMPONENT}={component}")
    return [
        p for p in pods if not p["metadata"].get("deletionTimestamp") and p.get("status", {}).get("phase") != "Failed"
    ]


async def _replace(ctx: Context, pod: Obj) -> None:
    metadata = pod["metadata"]
    try:
        await ctx.client.delete(POD, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])
    except Conflict:
        return
