"""The key of backups: made once at random, kept in two places, never changed, erased with the tenant or server."""

import base64

from elink_operator import conditions
from elink_operator.cluster.errors import Conflict, NotFound
from elink_operator.cluster.kinds import SECRET, Obj
from elink_operator.cluster.slim import FINGERPRINTS
from elink_operator.conditions import Condition
from elink_operator.desired.secret import BACKUP_KEY, build_backup_key
from elink_operator.desired.vault import Vault
from elink_operator.reconcile.context import Context

_KEY_BYTES = 32


async def ensure_key(ctx: Context, vault: Vault, *, backed_up: bool) -> Condition | None:
    """Both Secrets hold the same key; a lost one comes back from the other. No API call when they do.

    `backed_up`: there are generations in the store. Returns a condition when both are gone although backups exist: a
    new key would make those unreadable unseen.
    """
    where, copy_where = (vault.settings.namespace, vault.key), (vault.namespace, vault.place.key)
    kept, copy = ctx.store.get(SECRET, *where), ctx.store.get(SECRET, *copy_where)
    if kept is not None and copy is not None and _fingerprint(kept) == _fingerprint(copy) is not None:
        return None
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
        await _make(ctx, vault)
        return None
    if kept_key is None:
        key = await _write(ctx, build_backup_key(vault, key, copy=False))
    if copy_key != key:
        await _replace(ctx, vault, key, copy=True, there=copy_key is not None)
    return None


async def _make(ctx: Context, vault: Vault) -> None:
    """A new key in both places. One that is there and not in the cache, for want of its label, wins."""
    new = ctx.random_token(_KEY_BYTES)
    kept = await _write(ctx, build_backup_key(vault, new, copy=False))
    copy = await _write(ctx, build_backup_key(vault, kept, copy=True))
    if copy != kept:
        older = copy if kept == new else kept
        await _replace(ctx, vault, older, copy=kept != new, there=True)


async def _replace(ctx: Context, vault: Vault, key: str, *, copy: bool, there: bool) -> None:
    """Put the key into one of the two Secrets, which cannot be changed: what is `there` goes first."""
    secret = build_backup_key(vault, key, copy=copy)
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
