"""Migrating a server's template and tenant databases: one Job per app version and template revision."""

from datetime import timedelta
from typing import Final

from elink_operator import conditions, labels, naming, observe
from elink_operator.cluster.kinds import JOB, Obj
from elink_operator.desired.inputs import Access, ServerInputs
from elink_operator.desired.job import build_migrate_job
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.jobs import failed_long_ago, remove
from elink_operator.reconcile.rows import server_row

_PATIENCE: Final = timedelta(minutes=2)
"""For so long a Job may be without a pod that runs before that is told."""


async def migrate(ctx: Context, inputs: ServerInputs, access: Access, version: str, *, done: str) -> str:
    """Make sure that the Job for `version` has succeeded; returns its name, raises Waiting until then.

    `done` is the name of the last one that succeeded. While it runs the template is marked as not to be copied. A Job
    that failed is kept for two minutes for humans to look at, then replaced.
    """
    name = naming.migrate_job(version, ctx.settings.template_revision)
    await _end_others(ctx, inputs, name)
    if done == name:
        return name
    job = ctx.store.get(JOB, inputs.namespace, name)
    state = observe.job_state(job)
    if state == "succeeded":
        await ctx.databases.mark_template(server_row(inputs.server, access), name)
        return name
    if state == "failed" and job is not None:
        await _failed(ctx, inputs, job, version)
    if state == "missing":
        await ctx.databases.mark_template(server_row(inputs.server, access), "")
        if ctx.memory.creating[inputs.name]:
            # A database that is copied now could miss the migration's list of tenants.
            raise Waiting(
                "Migrating", "the migration starts when the databases in the making are complete", retry_after=1
            )
        await ctx.applier.apply_if_changed(JOB, build_migrate_job(inputs, version))
    raise Waiting("Migrating", _under_way(ctx, job, version), retry_after=15)


def _under_way(ctx: Context, job: Obj | None, version: str) -> str:
    status = (job or {}).get("status", {})
    began = status.get("startTime")
    if job is None or not began or status.get("ready") or ctx.clock() - conditions.parse_timestamp(began) < _PATIENCE:
        return f"the databases are being migrated to version {version}"
    metadata = job["metadata"]
    return (
        f"the migration of the databases to version {version} waits for a pod that runs: is there an image of that "
        f"version, and room? See 'kubectl describe pod -n {metadata['namespace']} -l job-name={metadata['name']}'; "
        "the previous version keeps running, and setting spec.version back ends the wait"
    )


async def _end_others(ctx: Context, inputs: ServerInputs, name: str) -> None:
    """A Job for a version that nobody wants now must not go on, nor count when that version is wanted again.

    One that failed stays, for people to read its log.
    """
    for obj in ctx.store.by_server_alone(inputs.name):
        metadata = obj["metadata"]
        migrates = obj["kind"] == JOB.kind and metadata["labels"].get(labels.COMPONENT) == labels.MIGRATE
        unwanted = migrates and metadata["name"] != name and observe.job_state(obj) != "failed"
        if unwanted and not metadata.get("deletionTimestamp"):
            await remove(ctx, obj)


async def _failed(ctx: Context, inputs: ServerInputs, job: Obj, version: str) -> None:
    name = job["metadata"]["name"]
    if failed_long_ago(job, ctx.clock()):
        await ctx.client.delete(JOB, name, namespace=inputs.namespace, uid=job["metadata"]["uid"])
    raise Waiting(
        "MigrationFailed",
        f"the migration of the databases to version {version} failed ({observe.job_failure(job)}); the previous "
        f"version keeps running and it is tried again; see 'kubectl logs -n {inputs.namespace} job/{name}'",
        retry_after=30,
    )
