"""The key of a tenant's backups: made once at random, kept in two places, never changed, erased with the tenant."""

import base64

from elink_operator import conditions, naming
from elink_operator.cluster.errors import Conflict, NotFound
from elink_operator.cluster.kinds import SECRET, Obj
from elink_operator.cluster.slim import FINGERPRINTS
from elink_operator.conditions import Condition
from elink_operator.desired.inputs import TenantInputs
from elink_operator.desired.secret import BACKUP_KEY, build_backup_key
from elink_operator.reconcile.context import Context

_KEY_BYTES = 32


async def ensure_key(ctx: Context, inputs: TenantInputs) -> Condition | None:
    """Both Secrets hold the same key; a lost one comes back from the other. No API call when they do.

    Returns a condition when both are gone although backups exist: a new key would make those unreadable unseen.
    """
    where = inputs.settings.namespace, naming.backup_key_secret(inputs.name)
    copy_where = inputs.namespace, naming.backup_key_copy(inputs.name)
    kept, copy = ctx.store.get(SECRET, *where), ctx.store.get(SECRET, *copy_where)
    if kept is not None and copy is not None and _fingerprint(kept) == _fingerprint(copy) is not None:
        return None
    backed_up = bool(inputs.tenant.status.backup.generations)
    kept_key = copy_key = None
    if kept is not None or copy is not None or backed_up:
        kept_key, copy_key = await _read(ctx, *where), await _read(ctx, *copy_where)
    key = kept_key or copy_key
    if key is None:
        if backed_up:
            return conditions.false(
                conditions.BACKUP_HEALTHY,
                "KeyMissing",
                f"the Secrets {'/'.join(where)} and {'/'.join(copy_where)} with the key of the backups are gone: bring "
                "one of them back; without it the generations in the store cannot be read",
            )
        await _make(ctx, inputs)
        return None
    if kept_key is None:
        key = await _write(ctx, build_backup_key(inputs, key, copy=False))
    if copy_key != key:
        await _replace(ctx, inputs, key, copy=True, there=copy_key is not None)
    return None


async def _make(ctx: Context, inputs: TenantInputs) -> None:
    """A new key in both places. One that is there and not in the cache, for want of its label, wins."""
    new = ctx.random_token(_KEY_BYTES)
    kept = await _write(ctx, build_backup_key(inputs, new, copy=False))
    copy = await _write(ctx, build_backup_key(inputs, kept, copy=True))
    if copy != kept:
        older = copy if kept == new else kept
        await _replace(ctx, inputs, older, copy=kept != new, there=True)


async def _replace(ctx: Context, inputs: TenantInputs, key: str, *, copy: bool, there: bool) -> None:
    """Put the key into one of the two Secrets, which cannot be changed: what is `there` goes first."""
    secret = build_backup_key(inputs, key, copy=copy)
    if there:
        await ctx.client.delete(SECRET, secret["metadata"]["name"], namespace=secret["metadata"]["namespace"])
    await _write(ctx, secret)


async def _write(ctx: Context, secret: Obj) -> str:
    """Create the Secret; a rival's wins. Returns the key that is in it."""
    metadata = secret["metadata"]
    try:
        await ctx.client.create(SECRET, secret)
    except Conflict:
        present = await _read(ctx, metadata["namespace"], metadata["name"])
        if present is None:
            raise
        return present
    return str(secret["stringData"][BACKUP_KEY])


async def _read(ctx: Context, namespace: str, name: str) -> str | None:
    try:
        secret = await ctx.client.get(SECRET, name, namespace)
    except NotFound:
        return None
    value = (secret.get("data") or {}).get(BACKUP_KEY)
    return base64.b64decode(value).decode() if value else None


def _fingerprint(secret: Obj) -> str | None:
    found = secret.get(FINGERPRINTS, {}).get(BACKUP_KEY)
    return None if found is None else str(found)
