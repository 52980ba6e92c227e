"""A bucket of backups in the object store, the account that owns it, and the Secret by which its Jobs log in."""

import base64
import hmac
from pathlib import Path

from elink_operator import conditions
from elink_operator.cluster.kinds import SECRET
from elink_operator.cluster.slim import FINGERPRINTS
from elink_operator.conditions import Condition
from elink_operator.desired.pod import Obj
from elink_operator.desired.secret import build_store_secret, value_hash
from elink_operator.desired.store import on_volumes, own_accounts
from elink_operator.desired.vault import Vault
from elink_operator.objectstore import Erased, ObjectStore, ObjectStoreError
from elink_operator.objectstore.signature import Login
from elink_operator.reconcile.context import Context


async def ensure_bucket(ctx: Context, vault: Vault) -> Condition | None:
    """Bucket, account and Secret. No call to the store while the Secret is as it should be.

    Returns a condition when the store is away or refuses; customers are served all the same. A bucket that somebody
    removed later is not made anew: an empty one would hide the loss, which the next backup reports.
    """
    if ctx.objects is None or on_volumes(ctx.settings):
        return None
    try:
        wanted = _secret(vault, ctx.objects)
        if _is_there(ctx, wanted):
            return None
        own = own_accounts(ctx.settings)
        if own:
            await ctx.objects.ensure_account(login_of(vault, ctx.objects.admin()))
        await ctx.objects.ensure_bucket(vault.place.bucket, vault.place.bucket if own else None)
    except ObjectStoreError as error:
        return conditions.false(conditions.BACKUP_HEALTHY, error.reason, f"there is no place for backups yet: {error}")
    await ctx.applier.apply_if_changed(SECRET, wanted)
    return None


async def erase_bucket(objects: ObjectStore, bucket: str, *, account: bool) -> tuple[Erased, str]:
    """Empty and delete the bucket and its account; what it was, and what the store, asked again, still has."""
    erased = await objects.erase_bucket(bucket)
    if account:
        await objects.delete_account(bucket)
    if await objects.bucket_exists(bucket):
        return erased, f"bucket {bucket}"
    if account and await objects.account_exists(bucket):
        return erased, f"account {bucket} of the object store"
    return erased, ""


def login_of(vault: Vault, admin: Login) -> Login:
    """The log-in of these backups' own account; with shared accounts it is the administrator's.

    Derived from the administrator's secret and the owner's uid, as a tenant's database password is from another: a
    lost Secret comes back as it was, on whatever server.
    """
    if not own_accounts(vault.settings):
        return admin
    mac = hmac.digest(admin.secret.encode(), vault.seed.encode(), "sha256")
    return Login(vault.place.bucket, base64.urlsafe_b64encode(mac).decode().rstrip("="))


def _secret(vault: Vault, objects: ObjectStore) -> Obj:
    login = login_of(vault, objects.admin())
    file = vault.settings.backup_s3_ca_file
    try:
        authority = Path(file).read_text(encoding="utf-8") if file else ""
    except OSError as error:
        raise ObjectStoreError(f"the store's certificate authority {file} cannot be read: {error.strerror}") from error
    return build_store_secret(vault, login.access, login.secret, authority)


def _is_there(ctx: Context, wanted: Obj) -> bool:
    metadata = wanted["metadata"]
    live = ctx.store.get(SECRET, metadata["namespace"], metadata["name"])
    if live is None or live["metadata"].get("deletionTimestamp"):
        return False
    hashes = {key: value_hash(value) for key, value in wanted["stringData"].items()}
    return bool(live.get(FINGERPRINTS) == hashes)
