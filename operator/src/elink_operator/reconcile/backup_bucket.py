"""A tenant's bucket in the object store, the account that owns it, and the Secret by which its Jobs log in."""

import base64
import hmac
from pathlib import Path

from elink_operator import conditions
from elink_operator.api import ElinkTenant
from elink_operator.cluster.kinds import SECRET
from elink_operator.cluster.slim import FINGERPRINTS
from elink_operator.conditions import Condition
from elink_operator.desired.inputs import TenantInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.secret import build_store_secret, value_hash
from elink_operator.desired.store import bucket_of, on_volumes, own_accounts
from elink_operator.objectstore import ObjectStore, ObjectStoreError
from elink_operator.objectstore.signature import Login
from elink_operator.reconcile.context import Context
from elink_operator.settings import Settings


async def ensure_bucket(ctx: Context, inputs: TenantInputs) -> Condition | None:
    """Bucket, account and Secret. No call to the store while the Secret is as it should be.

    Returns a condition when the store is away or refuses; the tenant is served all the same. A bucket that somebody
    removed later is not made anew: an empty one would hide the loss, which the next backup reports.
    """
    if ctx.objects is None or on_volumes(ctx.settings):
        return None
    try:
        wanted = _secret(inputs, ctx.objects)
        if _is_there(ctx, wanted):
            return None
        bucket = bucket_of(inputs.name, ctx.settings)
        own = own_accounts(ctx.settings)
        if own:
            await ctx.objects.ensure_account(tenant_login(ctx.settings, ctx.objects.admin(), inputs.tenant))
        await ctx.objects.ensure_bucket(bucket, bucket if own else None)
    except ObjectStoreError as error:
        return conditions.false(conditions.BACKUP_HEALTHY, error.reason, f"there is no place for backups yet: {error}")
    await ctx.applier.apply_if_changed(SECRET, wanted)
    return None


def tenant_login(settings: Settings, admin: Login, tenant: ElinkTenant) -> Login:
    """The tenant's own log-in; with shared accounts it is the administrator's.

    Derived from the administrator's secret and the tenant's uid, as its database password is from another: a lost
    Secret comes back as it was, on whatever server.
    """
    if not own_accounts(settings):
        return admin
    mac = hmac.digest(admin.secret.encode(), f"elink backup store {tenant.metadata.uid}".encode(), "sha256")
    return Login(bucket_of(tenant.name, settings), base64.urlsafe_b64encode(mac).decode().rstrip("="))


def _secret(inputs: TenantInputs, objects: ObjectStore) -> Obj:
    login = tenant_login(inputs.settings, objects.admin(), inputs.tenant)
    file = inputs.settings.backup_s3_ca_file
    try:
        authority = Path(file).read_text(encoding="utf-8") if file else ""
    except OSError as error:
        raise ObjectStoreError(f"the store's certificate authority {file} cannot be read: {error.strerror}") from error
    return build_store_secret(inputs, login.access, login.secret, authority)


def _is_there(ctx: Context, wanted: Obj) -> bool:
    metadata = wanted["metadata"]
    live = ctx.store.get(SECRET, metadata["namespace"], metadata["name"])
    if live is None or live["metadata"].get("deletionTimestamp"):
        return False
    hashes = {key: value_hash(value) for key, value in wanted["stringData"].items()}
    return bool(live.get(FINGERPRINTS) == hashes)
