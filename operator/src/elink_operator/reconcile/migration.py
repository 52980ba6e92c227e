"""Migrating a server's template and tenant databases: one Job per app version and template revision."""

from elink_operator import naming, observe
from elink_operator.cluster.kinds import JOB, Obj
from elink_operator.desired.inputs import Access, ServerInputs
from elink_operator.desired.job import build_migrate_job
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.reconcile.jobs import failed_long_ago
from elink_operator.reconcile.rows import server_row


async def migrate(ctx: Context, inputs: ServerInputs, access: Access, version: str, *, done: str) -> str:
    """Make sure that the Job for `version` has succeeded; returns its name, raises Waiting until then.

    `done` is the name of the last one that succeeded. While it runs the template is marked as not to be copied. A Job
    that failed is kept for two minutes for humans to look at, then replaced.
    """
    name = naming.migrate_job(version, ctx.settings.template_revision)
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
    raise Waiting("Migrating", f"the databases are being migrated to version {version}", retry_after=15)


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
