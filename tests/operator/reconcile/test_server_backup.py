"""The backups of a server's own data: made possible, reported, free of erased tenants, gone with the server."""

from __future__ import annotations

import base64
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from elink_operator import naming

from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, is_ready, until
from tests.operator.reconcile.test_backup_bucket import admin, in_buckets, store
from tests.operator.reconcile.test_erase import records_of, tenant_is_ready
from tests.support.restic import find_restic
from tests.support.standin import Obj
from tests.support.versitygw import Gateway

__all__ = ["admin", "store"]

PATIENCE = 600
"""Seconds; only a failure takes that long."""


def secret(world: World, namespace: str, name: str) -> Obj | None:
    return world.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")


def key_of(world: World, server: str) -> str:
    kept = secret(world, SYSTEM, naming.server_key_secret(server))
    copy = secret(world, naming.server_namespace(server), "server-backup-key")
    assert kept is not None
    assert copy is not None
    assert kept["data"] == copy["data"]
    assert kept["immutable"]
    return base64.b64decode(kept["data"]["repository-key"]).decode()


def run_now(world: World, server: str, name: str) -> None:
    """What `kubectl create job --from=cronjob/server-backup` does."""
    namespace = naming.server_namespace(server)
    cronjob = world.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/server-backup")
    assert cronjob is not None
    template = cronjob["spec"]["jobTemplate"]
    body = {"apiVersion": "batch/v1", "kind": "Job", **template, "metadata": {**template["metadata"], "name": name}}
    code, answer = world.api.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
    assert code == 201, answer


def stored(world: World, server: str) -> Obj:
    return ((world.es(server) or {}).get("status") or {}).get("backup") or {}


def contents(repository: Path, key: str, scratch: Path) -> str:
    """All that any snapshot of a repository holds."""
    (scratch / "key").write_text(key)
    base = [str(find_restic()), "--no-cache", "--repo", str(repository), "--password-file", str(scratch / "key")]
    found = json.loads(subprocess.run([*base, "snapshots", "--json"], capture_output=True, check=True).stdout)
    dumps = [[*base, "dump", "--archive", "tar", one["id"], "/"] for one in found]
    return "".join(subprocess.run(d, capture_output=True, check=True).stdout.decode() for d in dumps)


def writes(op: Operator) -> float:
    samples = [s for family in op.ctx.metrics.requests.collect() for s in family.samples]
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels["verb"] in ("POST", "PATCH", "PUT"))


@pytest.mark.timeout(1800)
async def test_a_server_is_backed_up_and_an_erased_tenant_leaves_its_copies(world: World, tmp_path: Path) -> None:
    server = world.unique("shared")
    victim, neighbour = world.unique("t"), world.unique("n")
    namespace = naming.server_namespace(server)
    world.server(server)
    for name in (victim, neighbour):
        world.tenant(name)
    async with world.operator() as op:
        for name in (victim, neighbour):
            await until(partial(tenant_is_ready, world, name), timeout=PATIENCE)
        assert condition(world.es(server), "BackupHealthy")["reason"] == "NoBackupYet"
        key = key_of(world, server)
        journals = world.standin.folder(namespace, "files") / "journals"
        journals.mkdir(exist_ok=True)
        (journals / "1-aa.journal").write_text(f'["C","{victim}",7,[[1,1]]]\n["C","{neighbour}",7,[[1,1]]]\n')
        run_now(world, server, "now-1")
        await until(lambda: stored(world, server).get("generations") == 1, timeout=PATIENCE, what="the status says so")
        assert condition(world.es(server), "BackupHealthy")["reason"] == "Recent"
        assert stored(world, server)["bytes"] > 0
        assert stored(world, server)["verifiedAt"]
        assert is_ready(world.es(server))
        repository = world.standin.folder(namespace, "backups") / ".server" / "repository"
        before = contents(repository, key, tmp_path)
        assert f'"{victim}"' in before
        assert "株式会社あおぞら" not in before
        assert "kanri@example.jp" not in before
        await op.settle()
        quiet = writes(op)
        await op.look_at_everything()
        assert writes(op) == quiet, "nothing changed, nothing is written"

        uid = (world.et(victim) or {})["metadata"]["uid"]
        world.change("ElinkTenant", victim, {"spec": {"state": "Cancelled"}})
        world.delete(f"/apis/elink-lc.com/v1/elinktenants/{victim}")
        await until(lambda: world.et(victim) is None, timeout=PATIENCE, what="erased")
        after = contents(repository, key, tmp_path)
        assert victim not in after
        assert f'"{neighbour}"' in after
        [record] = records_of(world, uid)
        [place] = [p for p in record["spec"]["stores"] if p["store"] == "ServerBackups"]
        assert place["name"] == f"{server}/.server"
        assert "1 generations written again" in place["removed"]

        world.delete(f"/api/v1/namespaces/{namespace}/secrets/server-backup-key")
        op.ctx.wake("server", server)
        await until(lambda: secret(world, namespace, "server-backup-key") is not None, timeout=PATIENCE)
        assert key_of(world, server) == key


@pytest.mark.timeout(1800)
async def test_in_a_bucket_of_its_own_that_goes_with_the_server(world: World, store: Gateway, admin: Any) -> None:
    server = world.unique("shared")
    bucket = naming.server_bucket("elink-", server)
    world.server(server)
    async with world.operator(**in_buckets(store)) as op:
        await until(lambda: is_ready(world.es(server)), timeout=PATIENCE)
        assert await admin.bucket_exists(bucket)
        assert await admin.account_exists(bucket)
        login = secret(world, naming.server_namespace(server), "server-backup-store")
        assert login is not None
        assert f"aws_access_key_id = {bucket}" in base64.b64decode(login["data"]["store-credentials"]).decode()
        run_now(world, server, "now-1")
        await until(lambda: stored(world, server).get("generations") == 1, timeout=PATIENCE)
        store.stop()
        world.delete(f"/apis/elink-lc.com/v1/elinkservers/{server}")
        await until(lambda: "object store" in condition(world.es(server), "Ready").get("message", ""), timeout=PATIENCE)
        assert secret(world, SYSTEM, naming.server_key_secret(server)) is not None, "the key goes after the store"
        store.start()
        op.ctx.wake("server", server)
        await until(lambda: world.es(server) is None, timeout=PATIENCE, what="removed")
        assert not await admin.bucket_exists(bucket)
        assert not await admin.account_exists(bucket)
        assert secret(world, SYSTEM, naming.server_key_secret(server)) is None
