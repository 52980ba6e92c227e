"""The backups of a server's own data: made possible, and removed with the server."""

import asyncio

from elink_operator import naming
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import CRON_JOB, SECRET
from elink_operator.conditions import Condition
from elink_operator.desired.inputs import Access, ServerInputs
from elink_operator.desired.secret import build_server_backup_login
from elink_operator.desired.server_backup import build_server_backup
from elink_operator.desired.store import on_volumes, own_accounts
from elink_operator.desired.vault import of_server
from elink_operator.objectstore import ObjectStoreError
from elink_operator.reconcile.backup_bucket import ensure_bucket, erase_bucket
from elink_operator.reconcile.backup_key import ensure_key
from elink_operator.reconcile.context import Context


async def ensure_server_backup(ctx: Context, inputs: ServerInputs, access: Access) -> Condition | None:
    """Key, place in the store, log-in and CronJob; a condition when there can be no backups before a person acts."""
    vault = of_server(inputs)
    no_key = await ensure_key(ctx, vault, backed_up=inputs.server.status.backup.any)
    no_store = await ensure_bucket(ctx, vault)
    await asyncio.gather(
        ctx.applier.apply_if_changed(SECRET, build_server_backup_login(inputs, access)),
        ctx.applier.apply_if_changed(CRON_JOB, build_server_backup(inputs)),
    )
    return no_key or no_store


async def server_backups_left(ctx: Context, server: str) -> str:
    """Remove bucket, account and key of a server whose namespace and volumes are gone; a sentence while one is left.

    The store is asked, not the settings: the bucket may be from before backups went onto volumes.
    """
    if ctx.objects is not None:
        try:
            bucket = naming.server_bucket(ctx.settings.backup_s3_bucket_prefix, server)
            _, left = await erase_bucket(ctx.objects, bucket, account=own_accounts(ctx.settings))
            if left:
                raise ObjectStoreError(f"{left} is still there")
        except ObjectStoreError as error:
            return f"the server's own backups cannot be removed from the object store: {error}; it is tried again"
    name = naming.server_key_secret(server)
    try:
        live = await ctx.client.get(SECRET, name, ctx.settings.namespace)
    except NotFound:
        return ""
    await ctx.client.delete(SECRET, name, namespace=ctx.settings.namespace, uid=live["metadata"]["uid"])
    return f"Secret {ctx.settings.namespace}/{name} is being removed"


async def forget_old_versions(ctx: Context, server: str) -> None:
    """What a Job removed is gone, also where the object store keeps versions. Raises ObjectStoreError."""
    if ctx.objects is not None and not on_volumes(ctx.settings):
        await ctx.objects.erase_old_versions(naming.server_bucket(ctx.settings.backup_s3_bucket_prefix, server))


def store_is_unknown(ctx: Context, server: str) -> str:
    """A sentence when a bucket was made for the server and the operator is told of no object store any more."""
    login = ctx.store.get(SECRET, naming.server_namespace(server), naming.SERVER_STORE_SECRET)
    if login is None or ctx.objects is not None:
        return ""
    return (
        f"Secret {naming.SERVER_STORE_SECRET} says that the server has backups in an object store, and the operator is "
        "told of none: set the chart's backup.s3.endpoint until the server is removed"
    )


def place_of(ctx: Context, server: str) -> str:
    """Where the server's own backups lie, as a record names it."""
    if on_volumes(ctx.settings):
        return f"{server}/{naming.SERVER_BACKUP_FOLDER}"
    return naming.server_bucket(ctx.settings.backup_s3_bucket_prefix, server)
