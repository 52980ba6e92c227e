"""Stands in for kubelet, volume provisioner and Gateway on a test API server that has real controllers but no node.

Pods of workloads become Ready. Pods of Jobs run their command for real where it matters: the migration (the app's own
or a small one), backup and erasure (the backup image's programs) on folders that stand for the volumes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.restic import find_restic

ROOT = Path(__file__).resolve().parents[2]
Obj = dict[str, Any]

_MANAGED = "app.kubernetes.io/managed-by=elink-operator"
_COMPONENT = "elink-lc.com/component"
_PAUSE = 0.1
_REST = 1.0
_PODS = "/api/v1/pods"
_ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"
_NAMESPACES = "/api/v1/namespaces"
_CLAIMS = "/api/v1/persistentvolumeclaims"

Answer = tuple[int, str] | list[tuple[int, str]]
Program = Callable[["Standin", Obj, Mapping[str, str]], Awaitable[Answer]]
"""Runs a Job pod's command with its environment; returns exit code and termination message, or a list of these: one for
each container that was run, init containers first."""


class Standin:
    """Run with `async with`. `accept_routes` and `ready` can be switched off to make the operator wait."""

    def __init__(self, url: str, token: str, ca: Path, volumes: Path, programs: Mapping[str, Program]) -> None:
        self.url = url
        self.volumes = volumes
        self.accept_routes = True
        self.ready = True
        self.provision = True
        self.ran: list[str] = []
        """Components whose Jobs were run, in order."""
        self._programs = dict(programs)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._ca = ca
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.Task[None] | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._left: set[str] = set()
        """Namespaces of an earlier test, which Kubernetes is still removing: their Jobs are nobody's."""
        self.errors: list[str] = []

    async def __aenter__(self) -> Standin:
        import ssl

        context = ssl.create_default_context(cafile=str(self._ca))
        self._session = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(ssl=context, limit=20)
        )
        self._left = {namespace["metadata"]["name"] for namespace in await self.list(_NAMESPACES)}
        self._loop = asyncio.create_task(self._run())
        self._watches = [asyncio.create_task(self._watch(path)) for path in (_PODS, _ROUTES, _CLAIMS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._session is not None
        tasks = (self._loop, *self._watches, *self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def program(self, component: str, program: Program) -> None:
        """What pods of a component run from now on."""
        self._programs[component] = program

    def folder(self, namespace: str, volume: str) -> Path:
        """The folder that stands for a volume of a server's namespace."""
        path = self.volumes / namespace / volume
        path.mkdir(parents=True, exist_ok=True)
        return path

    # -- the loop ----------------------------------------------------------------------------------------

    async def _watch(self, path: str) -> None:
        """Tell the loop of each change, so that it need not ask for the same lists all the time."""
        assert self._session is not None
        query = {"labelSelector": _MANAGED, "watch": "true"}
        while True:
            try:
                async with self._session.get(self.url + path, params=query) as answer:
                    async for _ in answer.content:
                        self._changed.set()
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(_REST)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._pods()
                if self.accept_routes:
                    await self._routes()
                if self.provision:
                    await self._volumes()
            except (aiohttp.ClientError, OSError) as error:
                self.errors.append(str(error))
            await asyncio.sleep(_PAUSE)
            # Looks without a change too: tests switch `ready` and the like, and a watch may be down.
            # No `wait_for`: in Python 3.11 it forgets a cancellation that comes together with a change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REST):
                    await self._changed.wait()

    async def _pods(self) -> None:
        for pod in await self.list(_PODS):
            component = pod["metadata"]["labels"].get(_COMPONENT, "")
            phase = pod.get("status", {}).get("phase", "Pending")
            if pod["metadata"].get("deletionTimestamp"):
                await self._end(pod)
            elif pod["metadata"]["namespace"] in self._left:
                continue
            elif component in self._programs:
                uid = pod["metadata"]["uid"]
                if phase == "Pending" and uid not in self._jobs:
                    self._jobs[uid] = asyncio.create_task(self._job(pod, component))
            elif self.ready and not _is_running_as_declared(pod):
                await self._set_status(pod, _running(pod))

    async def _end(self, pod: Obj) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        await self.send("DELETE", path, {"gracePeriodSeconds": 0})

    async def _job(self, pod: Obj, component: str) -> None:
        container = pod["spec"]["containers"][0]
        first = pod["spec"].get("initContainers", [])
        environment = {e["name"]: e.get("value", "") for c in (*first, container) for e in c.get("env", [])}
        try:
            answer = await self._programs[component](self, pod, environment)
        except Exception as error:
            answer = 1, repr(error)
            self.errors.append(repr(error))
        self.ran.append(component)
        if isinstance(answer, list):
            await self._set_status(pod, _ended([*first, container], answer, len(first)))
            return
        code, message = answer
        # A program with init containers answers for them too, a line each.
        *said, message = message.split("\n", len(first)) if first and code == 0 else (message,)
        ended = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
        status = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [_container_status(container, {"terminated": ended}, ready=False)],
            "initContainerStatuses": [
                _container_status(c, {"terminated": {**ended, "message": text}}, ready=True)
                for c, text in zip(first, said, strict=False)
            ],
        }
        await self._set_status(pod, status)

    async def _routes(self) -> None:
        for route in await self.list(_ROUTES):
            generation = route["metadata"]["generation"]
            parents = route.get("status", {}).get("parents") or []
            if parents and all(c["observedGeneration"] == generation for c in parents[0]["conditions"]):
                continue
            conditions = [
                {
                    "type": type_,
                    "status": "True",
                    "reason": type_,
                    "message": "",
                    "observedGeneration": generation,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
                for type_ in ("Accepted", "ResolvedRefs")
            ]
            parent = {
                "parentRef": route["spec"]["parentRefs"][0],
                "controllerName": "elink.test/gateway",
                "conditions": conditions,
            }
            metadata = route["metadata"]
            path = (
                f"/apis/gateway.networking.k8s.io/v1/namespaces/{metadata['namespace']}/httproutes/{metadata['name']}"
            )
            await self.send("PATCH", f"{path}/status", {"status": {"parents": [parent]}})

    async def _volumes(self) -> None:
        """A PersistentVolume for each claim; gone when its namespace is."""
        claims = {f"pv-{c['metadata']['namespace']}-{c['metadata']['name']}": c for c in await self.list(_CLAIMS)}
        present = {v["metadata"]["name"]: v for v in await self.list("/api/v1/persistentvolumes", labelled=False)}
        for name in claims.keys() - present.keys():
            await self.send("POST", "/api/v1/persistentvolumes", _volume(name, claims[name]))
        for name in present.keys() - claims.keys():
            if present[name]["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
                await self.send("DELETE", f"/api/v1/persistentvolumes/{name}", None)

    # -- plumbing ----------------------------------------------------------------------------------------

    async def _set_status(self, pod: Obj, status: Obj) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        await self.send("PATCH", path, {"status": status})

    async def list(self, path: str, *, labelled: bool = True) -> list[Obj]:
        """All objects of a collection that the operator manages."""
        assert self._session is not None
        query = {"labelSelector": _MANAGED} if labelled else {}
        async with self._session.get(self.url + path, params=query) as answer:
            items: list[Obj] = (await answer.json()).get("items") or []
            return items

    async def get(self, path: str) -> Obj:
        """One object."""
        assert self._session is not None
        async with self._session.get(self.url + path) as answer:
            answer.raise_for_status()
            found: Obj = await answer.json()
            return found

    async def send(self, method: str, path: str, body: Obj | None) -> int:
        """One write; errors are kept in `errors`, because the object may be gone meanwhile."""
        assert self._session is not None
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self.url + path, data=data, headers={"Content-Type": kind}) as answer:
            if answer.status >= 400 and answer.status not in (404, 409):
                self.errors.append(f"{method} {path}: {answer.status} {(await answer.text())[:300]}")
            return answer.status

    async def secret_folder(self, namespace: str, name: str) -> tempfile.TemporaryDirectory[str]:
        """A Secret as files, as the kubelet mounts it."""
        secret = await self.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        folder = tempfile.TemporaryDirectory(prefix="elink-secret-")
        for key, value in secret.get("data", {}).items():
            (Path(folder.name) / key).write_bytes(base64.b64decode(value))
        return folder


async def run_python(module: str, path: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """`python -m module` with only the given environment; returns exit code and the end of its output."""
    process = await asyncio.create_subprocess_exec(
        *module_command(module),
        env={"PYTHONPATH": str(path), "PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")[-3000:]


def module_command(module: str) -> list[str]:
    """The command line of a module and its arguments, with this Python."""
    return [sys.executable, "-m", *module.split()]


async def migrate_with_app(standin: Standin, pod: Obj, environment: Mapping[str, str]) -> tuple[int, str]:
    """`elink-app migrate` with exactly the environment that the Job gives it."""
    with await standin.secret_folder(pod["metadata"]["namespace"], "postgres-credentials") as folder:
        changed = {**environment, "ELINK_DB_PASSWORD_FILE": f"{folder}/app-password", "ELINK_FILES_DIR": folder}
        return await run_python("elink_app migrate", ROOT / "tenant-app" / "src", changed)


async def erase(standin: Standin, pod: Obj, environment: Mapping[str, str]) -> tuple[int, str]:
    """The backup image's erase programs on the folders that stand for the volumes."""
    namespace = pod["metadata"]["namespace"]
    with tempfile.NamedTemporaryFile("r", prefix="elink-report-") as report:
        changed = {
            "ELINK_STORE": str(standin.folder(namespace, "backups")),
            **environment,
            "ELINK_FILES": str(standin.folder(namespace, "files") / "tenants"),
            "ELINK_JOURNALS": str(standin.folder(namespace, "files") / "journals"),
            "ELINK_TERMINATION_LOG": report.name,
        }
        for folder in ("tenants", "journals"):
            (standin.folder(namespace, "files") / folder).mkdir(exist_ok=True)
        code, output = await run_python("elink_backup.journals", ROOT / "hack" / "images" / "backup", changed)
        journals = report.read() or output
        if code != 0:
            return code, journals
        report.seek(0)
        code, output = await run_python("elink_backup.erase", ROOT / "hack" / "images" / "backup", changed)
        return code, f"{journals}\n{report.read() or output}"


async def backup(standin: Standin, pod: Obj, environment: Mapping[str, str]) -> tuple[int, str]:
    """The backup image's program, into the tenant's own folder of the store; of the server's own, with its mounts."""
    container = pod["spec"]["containers"][0]
    if container["command"][0] == "elink-server-backup":
        with tempfile.TemporaryDirectory(prefix="elink-pod-") as scratch:
            return await run_container(standin, pod["metadata"]["namespace"], pod["spec"], container, Path(scratch))
    namespace, tenant = pod["metadata"]["namespace"], environment["ELINK_TENANT_ID"]
    secret = f"tenant-{tenant}"
    store = standin.folder(namespace, "backups") / tenant
    files = standin.folder(namespace, "files") / "tenants" / tenant
    store.mkdir(parents=True, exist_ok=True)
    files.mkdir(parents=True, exist_ok=True)
    source = standin.folder(namespace, f"snapshot-{tenant}")
    shutil.copytree(files, source / "files", dirs_exist_ok=True)
    with (
        await standin.secret_folder(namespace, secret) as folder,
        await standin.secret_folder(namespace, f"backup-key-{tenant}") as key,
        tempfile.NamedTemporaryFile("r", prefix="elink-report-") as report,
    ):
        shutil.copy(Path(key) / "repository-key", folder)
        if "ELINK_BUCKET" in environment:
            with await standin.secret_folder(namespace, f"backup-store-{tenant}") as login:
                shutil.copytree(login, folder, dirs_exist_ok=True)
        changed = {
            **environment,
            "ELINK_SECRET_DIR": folder,
            "ELINK_STORE": str(store),
            "ELINK_SOURCE": str(source),
            "ELINK_JOB": pod["metadata"]["labels"]["batch.kubernetes.io/job-name"],
            "ELINK_TERMINATION_LOG": report.name,
            "PATH": f"{find_restic().parent}:{os.environ['PATH']}",
        }
        code, output = await run_python("elink_backup.backup", ROOT / "hack" / "images" / "backup", changed)
        return code, report.read() or output


MODULES = {
    "elink-backup": ("elink_backup.backup", ROOT / "hack" / "images" / "backup"),
    "elink-server-backup": ("elink_backup.server", ROOT / "hack" / "images" / "backup"),
    "elink-files": ("elink_backup.files", ROOT / "hack" / "images" / "backup"),
}
"""Programs that are run. Of a restored database the app's migration is not: tests/images does that."""


async def restore(standin: Standin, pod: Obj, environment: Mapping[str, str]) -> Answer:
    """The containers of a restore's pod, one after the other, each with its own environment, Secrets and folders."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    answers: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory(prefix="elink-pod-") as scratch:
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            answers.append(await run_container(standin, namespace, spec, container, Path(scratch)))
            if answers[-1][0] != 0:
                break
    return answers


async def backup_or_restore(standin: Standin, pod: Obj, environment: Mapping[str, str]) -> Answer:
    """What pods of component `backup` run: those of a restore bear its label."""
    if "elink-lc.com/restore" in pod["metadata"]["labels"]:
        return await restore(standin, pod, environment)
    return await backup(standin, pod, environment)


async def run_container(standin: Standin, namespace: str, spec: Obj, container: Obj, scratch: Path) -> tuple[int, str]:
    """One container of a pod with `spec`; where it would see a mount it is told the folder that stands for it."""
    places = {m["mountPath"]: m for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in spec["volumes"]}
    with tempfile.NamedTemporaryFile("r", prefix="elink-report-") as report:
        told = {"ELINK_TERMINATION_LOG": report.name}
        if container["command"][0] in ("elink-backup", "elink-server-backup"):
            told["PATH"] = f"{find_restic().parent}:{os.environ['PATH']}"
        folders = {
            path: await _mounted(standin, namespace, volumes[mount["name"]], mount, scratch)
            for path, mount in places.items()
        }
        variables = {
            "/backup": "ELINK_STORE", "/run/secrets/elink": "ELINK_SECRET_DIR", "/tenants": "ELINK_TENANTS",
            "/snapshot": "ELINK_SOURCE", "/journals": "ELINK_JOURNALS",
        }  # fmt: skip
        told |= {variables[path]: str(folder) for path, folder in folders.items() if path in variables}
        if "/snapshot/database" in folders:
            told["ELINK_SOURCE"] = str(folders["/snapshot/database"].parent)
        given = {e["name"]: e["value"] for e in container["env"] if "value" in e}
        command = [*container["command"]]
        for path, folder in sorted(folders.items(), reverse=True):
            command = [word.replace(f"={path}", f"={folder}") for word in command]
            given = {key: value.replace(path, str(folder), 1) if value.startswith(path) else value
                     for key, value in given.items()}  # fmt: skip
        if command[0] not in MODULES:
            return 0, ""
        module, source = MODULES[command[0]]
        code, output = await run_python(" ".join([module, *command[1:]]), source, {**given, **told})
        return code, report.read() or output


async def _mounted(standin: Standin, namespace: str, volume: Obj, mount: Obj, scratch: Path) -> Path:
    """The folder that stands for a mount; below a claim's subPath it is made, as the kubelet does."""
    if "persistentVolumeClaim" in volume:
        claim = standin.folder(namespace, volume["persistentVolumeClaim"]["claimName"])
        folder = claim / mount.get("subPath", "")
    else:
        folder = scratch / volume["name"]
        if volume["name"] == "dump":
            folder = folder / "database"
    folder.mkdir(parents=True, exist_ok=True)
    for source in volume.get("projected", {}).get("sources", ()):
        wanted = source["secret"]
        found = await standin.get(f"/api/v1/namespaces/{namespace}/secrets/{wanted['name']}")
        for item in wanted["items"]:
            (folder / item["path"]).write_bytes(base64.b64decode(found["data"][item["key"]]))
    return folder


def _is_running_as_declared(pod: Obj) -> bool:
    status = pod.get("status", {})
    if status.get("phase") != "Running":
        return False
    declared = {c["name"]: c.get("resources", {}) for c in pod["spec"]["containers"]}
    actual = {c["name"]: c.get("resources", {}) for c in status.get("containerStatuses", [])}
    return declared == actual


def _running(pod: Obj) -> Obj:
    running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    return {
        "phase": "Running",
        "conditions": [
            {"type": type_, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [_container_status(c, running, ready=True) for c in pod["spec"]["containers"]],
    }


def _container_status(container: Obj, state: Obj, *, ready: bool) -> Obj:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
        "resources": container.get("resources", {}),
    }


def _ended(containers: list[Obj], answers: list[tuple[int, str]], first: int) -> Obj:
    """The status of a pod whose containers ran one after the other, as far as they came."""
    entries = []
    for container, (code, message) in zip(containers, answers, strict=False):
        ended = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
        entries.append(_container_status(container, {"terminated": ended}, ready=False))
    fine = len(answers) == len(containers) and answers[-1][0] == 0
    return {
        "phase": "Succeeded" if fine else "Failed",
        "initContainerStatuses": entries[:first],
        "containerStatuses": entries[first:],
    }


def _volume(name: str, claim: Obj) -> Obj:
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"].get("storageClassName", ""),
            "claimRef": {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]},
            "hostPath": {"path": "/nowhere"},
        },
    }
