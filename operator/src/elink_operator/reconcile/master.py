"""The first log-in of a tenant: a one-time link in a Secret; its hash in the registry."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta

from elink_operator import conditions, naming
from elink_operator.cluster.kinds import SECRET, Obj
from elink_operator.desired.inputs import MasterLink, TenantInputs
from elink_operator.desired.secret import (
    LINK_HASH,
    MASTER_URL,
    SETUP_PATH,
    TENANT_UID,
    TOKEN_EXPIRES,
    TOKEN_SHA256,
    build_master_secret,
    token_sha256,
    value_hash,
)
from elink_operator.reconcile.context import Context

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Invitation:
    """What the registry must know of the link; `secret` is to be written, None when it is there already."""

    sha256: str
    expires_at: datetime
    secret: Obj | None


async def prepare(ctx: Context, inputs: TenantInputs) -> Invitation:
    """The link as it is, or a new one when the Secret is missing (deleting it asks for a new link).

    The token itself is read back only when the Secret must be rewritten for a new host or e-mail address.
    """
    live = ctx.store.get(SECRET, ctx.settings.namespace, naming.master_secret(inputs.name))
    noted = (live or {}).get("metadata", {}).get("annotations") or {}
    if live is None or TOKEN_SHA256 not in noted or TOKEN_EXPIRES not in noted or not _is_mine(live, inputs):
        return _new(ctx, inputs)
    sha256, expires = str(noted[TOKEN_SHA256]), str(noted[TOKEN_EXPIRES])
    if _is_current(live, inputs):
        return Invitation(sha256, conditions.parse_timestamp(expires), None)
    full = await ctx.client.get(SECRET, naming.master_secret(inputs.name), ctx.settings.namespace)
    token = _token_of(full)
    if token_sha256(token) != sha256:
        return _new(ctx, inputs)
    secret = build_master_secret(inputs, MasterLink(token, expires))
    return Invitation(sha256, conditions.parse_timestamp(expires), secret)


async def withdraw(ctx: Context, inputs: TenantInputs) -> None:
    """End a link that has not expired: data from before its use would take it a second time. A new one is made."""
    name = naming.master_secret(inputs.name)
    live = ctx.store.get(SECRET, ctx.settings.namespace, name)
    expires = ((live or {}).get("metadata", {}).get("annotations") or {}).get(TOKEN_EXPIRES)
    if live is not None and expires and conditions.parse_timestamp(str(expires)) > ctx.clock():
        await ctx.client.delete(SECRET, name, namespace=ctx.settings.namespace, uid=live["metadata"]["uid"])


def _new(ctx: Context, inputs: TenantInputs) -> Invitation:
    token = ctx.random_token(_TOKEN_BYTES)
    # Second precision: the annotation, the registry and its hash must say the same.
    expires = (ctx.clock() + timedelta(days=ctx.settings.setup_link_days)).replace(microsecond=0)
    secret = build_master_secret(inputs, MasterLink(token, conditions.timestamp(expires)))
    return Invitation(token_sha256(token), expires, secret)


def _is_mine(live: Obj, inputs: TenantInputs) -> bool:
    """A Secret that an earlier tenant of the same name left behind does not count."""
    return bool(live["metadata"].get("annotations", {}).get(TENANT_UID) == inputs.tenant.metadata.uid)


def _is_current(live: Obj, inputs: TenantInputs) -> bool:
    annotations = live["metadata"].get("annotations", {})
    hashes = live.get("dataHashes", {})
    return bool(
        annotations.get(MASTER_URL) == inputs.url
        and hashes.get("email") == value_hash(inputs.tenant.spec.master_account.email)
        and annotations.get(LINK_HASH) == hashes.get("setup-url")
    )


def _token_of(secret: Obj) -> str:
    encoded = (secret.get("data") or {}).get("setup-url", "")
    return base64.b64decode(encoded).decode().rpartition(SETUP_PATH)[2]
