"""Plays the parts that need a kubelet and a gateway: Jobs really migrate, Deployments and routes are said to be ready.

It adds one status write per route, which the floor's tenants cause as well.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench.operator.api import Api, Obj

ROOT = Path(__file__).resolve().parents[3]
NOW = "2026-01-01T00:00:00Z"
_MERGE = "application/merge-patch+json"


async def serve(api: Api, environ: dict[str, str]) -> None:
    """Run until cancelled. `environ` is what a migration Job's pod would have."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_each(api, "/apis/batch/v1", "jobs", lambda o: _job(api, o, environ)))
        group.create_task(_each(api, "/apis/apps/v1", "deployments", lambda o: _deployment(api, o)))
        group.create_task(_each(api, "/apis/gateway.networking.k8s.io/v1", "httproutes", lambda o: _route(api, o)))


async def _each(api: Api, group: str, plural: str, act: Any) -> None:
    items, version = await api.items(f"{group}/{plural}")
    for item in items:
        await act({"kind": plural, "apiVersion": group, **item})
    async for event in api.watch(f"{group}/{plural}", version):
        if event["type"] != "DELETED":
            with suppress(RuntimeError):  # the object went away meanwhile
                await act(event["object"])


def _path(group: str, plural: str, obj: Obj) -> str:
    return f"{group}/namespaces/{obj['metadata']['namespace']}/{plural}/{obj['metadata']['name']}/status"


async def _job(api: Api, job: Obj, environ: dict[str, str]) -> None:
    if job.get("status", {}).get("completionTime") or not job["metadata"]["name"].startswith("migrate-"):
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "elink_app", "migrate",
        env={**os.environ, "PYTHONPATH": str(ROOT / "tenant-app/src"), **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"the migration failed: {said.decode()}")
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": NOW, "lastProbeTime": NOW}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": NOW, "completionTime": NOW, "succeeded": 1, "conditions": conditions}
    await api.call("PATCH", _path("/apis/batch/v1", "jobs", job), {"status": status}, _MERGE)


async def _deployment(api: Api, deployment: Obj) -> None:
    count = deployment["spec"].get("replicas", 1)
    generation = deployment["metadata"]["generation"]
    if deployment.get("status", {}).get("observedGeneration") == generation:
        return
    status = {
        "observedGeneration": generation, "replicas": count, "updatedReplicas": count, "readyReplicas": count,
        "availableReplicas": count,
        "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "",
                        "lastUpdateTime": NOW, "lastTransitionTime": NOW}],
    }  # fmt: skip
    await api.call("PATCH", _path("/apis/apps/v1", "deployments", deployment), {"status": status}, _MERGE)


async def _route(api: Api, route: Obj) -> None:
    if route.get("status", {}).get("parents"):
        return
    generation = route["metadata"]["generation"]
    conditions = [
        {"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation,
         "lastTransitionTime": NOW}
        for kind in ("Accepted", "ResolvedRefs")
    ]  # fmt: skip
    parents = [
        {"parentRef": reference, "controllerName": "example.com/stand-in", "conditions": conditions}
        for reference in route["spec"]["parentRefs"]
    ]
    path = _path("/apis/gateway.networking.k8s.io/v1", "httproutes", route)
    await api.call("PATCH", path, {"status": {"parents": parents}}, _MERGE)
