"""What tests of restores share: a tenant with data, pods that answer quickly, and ways to look at the result.

Scratch databases, switches and folders are real. What is read out of the store is scripted: restic needs seconds of CPU
for each command, and a test that kills the operator after every write runs dozens. The real programs: tests/images.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from elink_operator import labels, naming

from tests.operator.reconcile.harness import World, is_ready, until
from tests.support.standin import Obj, Standin, run_container

DONE = {"Succeeded", "Failed", "RolledBack"}
GENERATION = "20260131T170000Z"
PATIENCE = 240
"""Seconds; only a failure takes that long."""


@dataclass
class Script:
    """What pods of backups and restores answer. `broken`: container → exit code and message instead of its work."""

    world: World
    broken: dict[str, tuple[int, str]] = field(default_factory=dict)
    rows: int = 7
    commands: list[list[str]] = field(default_factory=list)
    """Of the containers of restores, in order."""
    ran: list[str] = field(default_factory=list)
    """Job (without the restore's ID) and container, in order."""
    backups: int = 0
    forgotten: list[str] = field(default_factory=list)
    """Namespaces of servers whose own backups have forgotten a tenant."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """Every pod waits for it before it does anything; set, unless a test clears it."""

    def __post_init__(self) -> None:
        self.go.set()

    def install(self) -> Script:
        """Let the stand-in ask this script for every backup and restore pod."""
        self.world.standin.program("backup", self.answer)
        return self

    async def answer(self, standin: Standin, pod: Obj, _: Any) -> Any:
        await self.go.wait()
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        if pod["spec"]["containers"][0]["command"] == ["elink-server-backup", "forget"]:
            self.forgotten.append(pod["metadata"]["namespace"])
            told = next(e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "ELINK_LEAVERS")
            lines = {uid: 2 for _, uid in json.loads(told)}
            return 0, json.dumps({"result": "ok", "generations": 1, "rewritten": 1, "lines": lines, "left": []})
        if labels.RESTORE not in pod["metadata"]["labels"] or job.endswith("-safety"):
            return self._back_up(job)
        answers: list[tuple[int, str]] = []
        namespace, spec = pod["metadata"]["namespace"], pod["spec"]
        with tempfile.TemporaryDirectory(prefix="elink-pod-") as scratch:
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                name = container["name"]
                self.commands.append(container["command"])
                self.ran.append(f"{job.split('-', 2)[2]}/{name}")
                if name in self.broken:
                    answers.append(self.broken[name])
                elif container["command"][0] == "elink-files":
                    answers.append(await run_container(standin, namespace, spec, container, Path(scratch)))
                elif name == "restore":
                    answers.append(await self._read(standin, namespace, container))
                else:
                    answers.append((0, json.dumps({"deliveries": 2, "mails": 1}) if name == "disarm" else ""))
                if answers[-1][0] != 0:
                    break
        return answers

    def _back_up(self, job: str) -> tuple[int, str]:
        self.backups += 1
        self.ran.append(f"{job.split('-')[-1]}/backup")
        if "backup" in self.broken:
            return self.broken["backup"]
        newest = f"2026-02-01T00:00:{self.backups:02}Z"
        return 0, json.dumps({"generations": self.backups, "newest": newest, "bytes": 1000, "verifiedAt": newest})

    async def _read(self, standin: Standin, namespace: str, container: Obj) -> tuple[int, str]:
        """As `elink-backup restore` does: with the tenant's own log-in into an empty database, and a folder."""
        into = next(w.split("=", 1)[1] for w in container["command"] if w.startswith("--into-database="))
        tenant = into.split("_", 2)[2].replace("_", "-")
        secret = await standin.get(f"/api/v1/namespaces/{namespace}/secrets/{naming.tenant_secret(tenant)}")
        said = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        inside = await asyncpg.connect(
            host=said["host"], port=int(said["port"]), user=said["username"], password=said["password"], database=into
        )
        try:
            await inside.execute("CREATE TABLE address (id bigserial PRIMARY KEY, name text NOT NULL)")
            await inside.execute(
                f"INSERT INTO address (name) SELECT '復元' || n FROM generate_series(1, {self.rows}) n"
            )
        finally:
            await inside.close()
        mount = next(m for m in container["volumeMounts"] if m["mountPath"] == "/restored")
        if "subPath" in mount:
            top = standin.folder(namespace, "files") / mount["subPath"]
            assert top.is_dir(), "the folder was not prepared"
            (top / "復元.txt").write_text("復元")
        report = {
            "generation": GENERATION, "made": "2026-01-31T17:00:00Z", "rows": self.rows, "tables": 1, "files": 1,
            "different": [],
        }  # fmt: skip
        return 0, json.dumps(report)


async def served(world: World, **spec: Any) -> tuple[str, str]:
    """Names of a server and of a tenant with five rows and a file."""
    server, tenant = world.unique("shared"), world.unique("t")
    world.server(server)
    world.tenant(tenant, **spec)
    await until(lambda: is_ready(world.et(tenant)), timeout=PATIENCE, what="Ready")
    await world.sql(naming.tenant_database(tenant), "INSERT INTO address (name) SELECT '前' FROM generate_series(1, 5)")
    path = world.standin.folder(naming.server_namespace(server), "files") / "tenants" / tenant / "前.txt"
    path.parent.mkdir(parents=True)
    path.write_text("前")
    return server, tenant


def phase(world: World, name: str) -> str:
    """The phase of a restore; empty before the first status."""
    return str(((world.er(name) or {}).get("status") or {}).get("phase", ""))


def step(world: World, name: str) -> str:
    """The step of a restore."""
    return str(((world.er(name) or {}).get("status") or {}).get("step", ""))


async def ended(world: World, name: str, wanted: str = "Succeeded") -> Obj:
    """The status of a restore once its result is known, which must be `wanted`."""
    await until(lambda: phase(world, name) in DONE, timeout=PATIENCE, what=f"{name} ended")
    status: Obj = (world.er(name) or {})["status"]
    assert status["phase"] == wanted, status
    return status


async def contents(world: World, server: str, tenant: str) -> tuple[set[str], dict[str, str]]:
    """Names of the tenant's addresses (without numbers), and its files."""
    rows = await world.sql(naming.tenant_database(tenant), "SELECT DISTINCT rtrim(name, '0123456789') FROM address")
    top = world.standin.folder(naming.server_namespace(server), "files") / "tenants" / tenant
    return {r[0] for r in rows}, {p.name: p.read_text() for p in sorted(top.rglob("*")) if p.is_file()}


OLD = ({"前"}, {"前.txt": "前"})
NEW = ({"復元"}, {"復元.txt": "復元"})


async def left_over(world: World, server: str) -> list[str]:
    """Scratch and kept databases, and folders beside the tenants' directories."""
    found = await world.sql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '^(r_|k_|making_)'")
    top = world.standin.folder(naming.server_namespace(server), "files") / "tenants"
    return [r[0] for r in found] + [p.name for p in top.glob(".*")]


async def registry_state(world: World, tenant: str) -> str:
    """What the registry says of a tenant."""
    rows = await world.sql("elink_registry", "SELECT state FROM tenant WHERE name = $1", tenant)
    return str(rows[0]["state"]) if rows else ""


def suspended(world: World, server: str, tenant: str) -> bool:
    """Whether the tenant's backups are held."""
    namespace = naming.server_namespace(server)
    found = world.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/{naming.backup_cronjob(tenant)}") or {}
    return bool(found["spec"].get("suspend"))
