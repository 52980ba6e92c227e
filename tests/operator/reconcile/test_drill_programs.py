"""What the real programs say of a wrong key and of damage in the store, and what the operator makes of it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from elink_operator import naming
from elink_operator.business import BusinessCollector

from tests.operator.reconcile.harness import SYSTEM, Operator, World, condition, until
from tests.operator.reconcile.restoring import OLD, PATIENCE, contents, ended, served
from tests.support.standin import Obj, backup_or_restore

pytestmark = pytest.mark.timeout(900)


async def back_up(world: World, server: str, tenant: str, name: str) -> None:
    """What `kubectl create job --from=cronjob/backup-…` does, with one try only; until it has ended."""
    jobs = f"/apis/batch/v1/namespaces/{naming.server_namespace(server)}/jobs"
    cronjob = world.get(f"{jobs.removesuffix('jobs')}cronjobs/{naming.backup_cronjob(tenant)}") or {}
    template = cronjob["spec"]["jobTemplate"]
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {**template["metadata"], "name": name},
            "spec": {**template["spec"], "backoffLimit": 0}}  # fmt: skip
    code, answer = world.api.request("POST", jobs, body)
    assert code == 201, answer

    def has_ended() -> bool:
        listed = (world.get(f"{jobs}/{name}") or {})["status"].get("conditions", [])
        return any(c["type"] in ("Complete", "Failed") for c in listed)

    await until(has_ended, timeout=PATIENCE, what=f"backup {name} ended")


async def drilled(world: World, tenant: str, name: str, wanted: str) -> Obj:
    """A drill by hand; its status, which must be `wanted`."""
    world.restore(name, tenant, "Drill")
    return await ended(world, name, wanted)


async def proven(world: World) -> tuple[str, str]:
    """A server and a tenant with one backup that a drill has brought back."""
    server, tenant = await served(world)
    await back_up(world, server, tenant, "first")
    await until(lambda: status(world, tenant, "backup").get("generations") == 1, timeout=PATIENCE)
    await drilled(world, tenant, "good", "Succeeded")
    return server, tenant


async def healthy(world: World, tenant: str, reason: str) -> Obj:
    """BackupHealthy, once its reason is `reason`."""
    await until(lambda: condition(world.et(tenant), "BackupHealthy").get("reason") == reason, timeout=PATIENCE)
    return condition(world.et(tenant), "BackupHealthy")


def status(world: World, tenant: str, field: str) -> Obj:
    found: Obj = ((world.et(tenant) or {}).get("status") or {}).get(field) or {}
    return found


async def gauge(op: Operator, name: str, tenant: str, wanted: float) -> None:
    """Wait until a gauge that alerts are made of is `wanted`: the operator's own view is a moment behind the API."""

    def is_so() -> bool:
        families = BusinessCollector(op.ctx.world, op.clock, op.ctx.settings.drill_days).collect()
        samples = [s for f in families if f.name == name for s in f.samples if s.labels["tenant"] == tenant]
        mine = [s for s in samples if s.labels.get("type", "BackupHealthy") == "BackupHealthy"]
        return [s.value for s in mine] == [wanted]

    await until(is_so, timeout=PATIENCE, what=f"{name} {wanted}")


def key_secrets(world: World, server: str, tenant: str) -> list[Obj]:
    places = [
        (SYSTEM, naming.backup_key_secret(tenant)),
        (naming.server_namespace(server), naming.backup_key_copy(tenant)),
    ]
    found = [world.get(f"/api/v1/namespaces/{namespace}/secrets/{name}") for namespace, name in places]
    assert all(found)
    return [secret for secret in found if secret]


def put_keys(world: World, secrets: list[Obj], key: str) -> None:
    """Secrets with another key in place of these: what bringing back the wrong copy does."""
    world.proxy.fail(503, method="POST", path="/secrets")  # the operator would bring one back from the other
    for secret in secrets:
        world.delete(f"/api/v1/namespaces/{secret['metadata']['namespace']}/secrets/{secret['metadata']['name']}")
    for secret in secrets:
        metadata = {k: v for k, v in secret["metadata"].items() if k in ("name", "namespace", "labels", "annotations")}
        body = {**secret, "metadata": metadata, "data": {"repository-key": base64.b64encode(key.encode()).decode()}}
        code, answer = world.api.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/secrets", body)
        assert code == 201, answer
    world.proxy.heal()


def damage(repository: Path) -> None:
    """One byte in the middle of each pack is another: a disk that lies."""
    for pack in (path for path in (repository / "data").rglob("*") if path.is_file()):
        content = bytearray(pack.read_bytes())
        content[len(content) // 3] ^= 0xFF
        pack.chmod(0o600)
        pack.write_bytes(content)


async def test_a_wrong_key_is_named_and_counts_for_no_proof(world: World) -> None:
    world.standin.program("backup", backup_or_restore)
    async with world.operator(drill_days=30) as op:
        server, tenant = await proven(world)
        await healthy(world, tenant, "Recent")
        stored, proof = status(world, tenant, "backup"), status(world, tenant, "restoreDrill")
        assert (proof["result"], proof["rows"] >= 5, proof["files"]) == ("Succeeded", True, 1)
        await gauge(op, "elink_restore_drill_failed", tenant, 0)
        secrets = key_secrets(world, server, tenant)
        right = base64.b64decode(secrets[0]["data"]["repository-key"]).decode()

        put_keys(world, secrets, "the-key-of-another-repository")
        failed = await drilled(world, tenant, "wrong-key", "Failed")
        assert failed["failure"] == "WrongKey"
        doubts = await healthy(world, tenant, "DrillFailed")
        assert doubts["status"] == "False"
        assert "the key does not open the repository" in doubts["message"]
        assert "the-key-of-another" not in str(world.items("/api/v1/events")) + str(world.et(tenant))
        drill = status(world, tenant, "restoreDrill")
        assert (drill["result"], drill["provenAt"]) == ("Failed", proof["provenAt"])
        await gauge(op, "elink_restore_drill_failed", tenant, 1)
        await gauge(op, "elink_tenant_condition", tenant, 0)

        await back_up(world, server, tenant, "second")
        await healthy(world, tenant, "WrongKey")
        assert status(world, tenant, "backup") == stored, "what is in the store cannot be seen, and nothing was added"

        put_keys(world, secrets, right)
        await back_up(world, server, tenant, "third")
        await healthy(world, tenant, "DrillFailed")  # a new backup is no proof of a restore
        await drilled(world, tenant, "right-key", "Succeeded")
        await healthy(world, tenant, "Recent")
        assert status(world, tenant, "backup")["generations"] == 2
        await gauge(op, "elink_restore_drill_failed", tenant, 0)
        assert await contents(world, server, tenant) == OLD


async def test_damage_in_the_store_is_found_by_the_drill_and_by_the_next_backup(world: World) -> None:
    world.standin.program("backup", backup_or_restore)
    async with world.operator(drill_days=30) as op:
        server, tenant = await proven(world)
        stored, proof = status(world, tenant, "backup"), status(world, tenant, "restoreDrill")
        damage(world.standin.folder(naming.server_namespace(server), "backups") / tenant / "repository")

        failed = await drilled(world, tenant, "damaged", "Failed")
        assert failed["failure"] == "StoreDamaged"
        doubts = await healthy(world, tenant, "DrillFailed")
        assert "cannot be read back from the store" in doubts["message"]
        name = str(stored["newest"]).replace("-", "").replace(":", "")
        assert f"it is {name}; there is no other in the store" in doubts["message"]
        assert status(world, tenant, "restoreDrill")["generation"] == failed["generation"] == name
        drill = status(world, tenant, "restoreDrill")
        assert (drill["result"], drill["provenAt"]) == ("Failed", proof["provenAt"])
        await gauge(op, "elink_restore_drill_failed", tenant, 1)

        # What did not change would not be written again: the new generation must not stand on the damaged one.
        await back_up(world, server, tenant, "second")
        worse = await healthy(world, tenant, "GenerationsDamaged")
        assert worse["status"] == "False"
        assert name in worse["message"]
        after = status(world, tenant, "backup")
        assert (after["generations"], after["damaged"], after["newest"] > stored["newest"]) == (1, [name], True)
        await gauge(op, "elink_backup_damaged_generations", tenant, 1)
        await drilled(world, tenant, "mended", "Succeeded")
        assert await contents(world, server, tenant) == OLD
