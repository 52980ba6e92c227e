"""Access to a server's PostgreSQL: passwords are made once, kept in Secrets, and remembered by version."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from elink_operator import naming
from elink_operator.api import ElinkServer
from elink_operator.api.server import DatabaseMode
from elink_operator.cluster.errors import Conflict, NotFound
from elink_operator.cluster.kinds import SECRET
from elink_operator.desired.inputs import DATABASE_AUTHORITY, Access, Endpoint
from elink_operator.desired.secret import build_postgres_secret
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.trust import check_authority

_PASSWORD_BYTES = 32
_EXTERNAL_AGE = timedelta(seconds=50)
"""The platform's own Secret is not watched: a server looks at it once a minute, its tenants rely on that."""
_REQUIRED = ("host", "port", "username", "password")
_VERIFYING = ("verify-ca", "verify-full")
_MODES = ("", "disable", "prefer", "require", *_VERIFYING)


async def ensure_access(ctx: Context, server: ElinkServer) -> Access:
    """The access of a server; makes or completes `postgres-credentials`, and never changes a value that is there.

    Raises Waiting when the Secret of an External database is missing or incomplete.
    """
    async with ctx.memory.reading[server.name]:
        return await _ensure(ctx, server)


async def find_access(ctx: Context, server: ElinkServer) -> Access | None:
    """The access of a server as it is, without making anything; None while it is incomplete."""
    async with ctx.memory.reading[server.name]:
        return await _find(ctx, server)


def lacking_access(ctx: Context, server: ElinkServer) -> str:
    """What people read while `find_access` finds nothing for this server, with the Secrets to look at."""
    secrets = [f"{naming.server_namespace(server.name)}/{naming.POSTGRES_SECRET}"]
    if server.spec.database.secret_ref is not None:
        secrets.insert(0, f"{ctx.settings.namespace}/{server.spec.database.secret_ref.name}")
    return (
        f"the credentials of server {server.name} are missing or incomplete, so its database cannot be asked; "
        f"restore the Secret {' or '.join(secrets)}"
    )


async def _ensure(ctx: Context, server: ElinkServer) -> Access:
    external = await _external_values(ctx, server)
    known = _remembered(ctx, server, external)
    if known is not None:
        return known
    present = await _read(ctx, naming.POSTGRES_SECRET, naming.server_namespace(server.name))
    wanted = _wanted_values(ctx, server, external, present or _last_values(ctx, server))
    if present != wanted:
        present = await _write(ctx, server, wanted, exists=present is not None)
    return _remember(ctx, server, external, present)


async def _find(ctx: Context, server: ElinkServer) -> Access | None:
    try:
        external = await _external_values(ctx, server)
    except Waiting:
        return None
    known = _remembered(ctx, server, external)
    if known is not None:
        return known
    present = await _read(ctx, naming.POSTGRES_SECRET, naming.server_namespace(server.name))
    needed = {"host", "port", "app-password", "tenant-key"} | (set() if external else set(_REQUIRED))
    if present is None or not needed <= set(present):
        return None
    return _remember(ctx, server, external, present)


def _is_external(server: ElinkServer) -> bool:
    return server.spec.database.mode is DatabaseMode.EXTERNAL


async def _external_values(ctx: Context, server: ElinkServer) -> dict[str, str]:
    """The platform's Secret for an External database; empty for an Embedded one."""
    if not _is_external(server):
        return {}
    now = ctx.clock()
    known = ctx.memory.external.get(server.name)
    if known is not None and now - known[0] < _EXTERNAL_AGE:
        return known[1]
    reference = server.spec.database.secret_ref
    name = reference.name if reference else ""
    where = f"{ctx.settings.namespace}/{name}"
    values = await _read(ctx, name, ctx.settings.namespace) if name else None
    if values is None:
        raise Waiting("SecretMissing", f"Secret {where} with the access to the database does not exist; create it")
    missing = [key for key in _REQUIRED if not values.get(key)]
    if missing or not values["port"].isdigit():
        keys = ", ".join(missing) or "port (a number)"
        raise Waiting("SecretIncomplete", f"Secret {where} lacks {keys}; add what is missing")
    mode, authority = tls_of(values)
    if mode not in _MODES:
        raise Waiting("SecretIncomplete", f"Secret {where}: sslmode is {mode!r}; use one of {', '.join(_MODES)}")
    if mode in _VERIFYING and not authority:
        raise Waiting("SecretIncomplete", f"Secret {where} lacks ca.crt, the authority that sslmode {mode} checks with")
    if authority:
        try:
            check_authority(authority)
        except (OSError, ValueError):
            raise Waiting("SecretIncomplete", f"Secret {where}: ca.crt is no certificate (PEM)") from None
    ctx.memory.external[server.name] = (now, values)
    return values


def tls_of(values: Mapping[str, str]) -> tuple[str, str]:
    """`sslmode` and `ca.crt` of a platform's Secret. Whoever names an authority wants it to be asked."""
    authority = values.get(DATABASE_AUTHORITY, "")
    return values.get("sslmode", "").strip() or ("verify-full" if authority else ""), authority


def _wanted_values(
    ctx: Context, server: ElinkServer, external: Mapping[str, str], present: Mapping[str, str]
) -> dict[str, str]:
    wanted = dict(present)
    if external:
        taken = ("host", "port", "app-password", DATABASE_AUTHORITY)
        wanted |= {key: external[key] for key in taken if key in external}
    else:
        wanted["host"] = f"{naming.POSTGRES}.{naming.server_namespace(server.name)}.svc"
        wanted["port"] = str(naming.POSTGRES_PORT)
        wanted["username"] = naming.OPERATOR_ROLE
        wanted["password"] = wanted.get("password") or ctx.random_token(_PASSWORD_BYTES)
    for key in ("app-password", "tenant-key"):
        wanted[key] = wanted.get(key) or ctx.random_token(_PASSWORD_BYTES)
    return wanted


async def _read(ctx: Context, name: str, namespace: str) -> dict[str, str] | None:
    try:
        secret = await ctx.client.get(SECRET, name, namespace)
    except NotFound:
        return None
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


async def _write(ctx: Context, server: ElinkServer, values: Mapping[str, str], *, exists: bool) -> dict[str, str]:
    """Create the Secret, or add to it what is missing; a rival's Secret wins."""
    namespace = naming.server_namespace(server.name)
    secret = build_postgres_secret(server.name, namespace, values)
    if exists:
        await ctx.applier.apply_if_changed(SECRET, secret)
        return dict(values)
    try:
        await ctx.client.create(SECRET, secret)
    except Conflict:
        present = await _read(ctx, naming.POSTGRES_SECRET, namespace)
        if present is None:
            raise
        # Also gives a Secret that lost its labels back to the cache.
        values = {**values, **present}
        await ctx.applier.apply_if_changed(SECRET, build_postgres_secret(server.name, namespace, values))
    return dict(values)


def _remembered(ctx: Context, server: ElinkServer, external: Mapping[str, str]) -> Access | None:
    version = _version(ctx, server, external)
    known = ctx.memory.access.get(server.name)
    return known[1] if known is not None and version is not None and known[0] == version else None


def _last_values(ctx: Context, server: ElinkServer) -> dict[str, str]:
    """What the Secret held before somebody deleted it, if this process has seen it."""
    known = ctx.memory.access.get(server.name)
    if known is None:
        return {}
    values = {"app-password": known[1].app_password, "tenant-key": known[1].tenant_key}
    return values if _is_external(server) else values | {"password": known[1].password}


def _remember(ctx: Context, server: ElinkServer, external: Mapping[str, str], present: Mapping[str, str]) -> Access:
    login = external or present
    # What no pod mounts is left out: it must not restart one.
    mounted = ("host", "port", "username", "password", "app-password", DATABASE_AUTHORITY)
    values = "\n".join(f"{key}={present[key]}" for key in mounted if key in present)
    access = Access(
        endpoint=Endpoint(present["host"], int(present["port"]), *tls_of(external)),
        username=login["username"],
        password=login["password"],
        app_password=present["app-password"],
        tenant_key=present["tenant-key"],
    )
    access = replace(access, fingerprint=hashlib.sha256(values.encode()).hexdigest()[:16])
    version = _version(ctx, server, external)
    if version is not None:
        ctx.memory.access[server.name] = (version, access)
    return access


def _version(ctx: Context, server: ElinkServer, external: Mapping[str, str]) -> str | None:
    """Changes with every change of a Secret behind the access; None while the Secret is not in the cache."""
    entry = ctx.store.entry(SECRET, naming.server_namespace(server.name), naming.POSTGRES_SECRET)
    if entry is None:
        return None
    outside = hashlib.sha256(repr(sorted(external.items())).encode()).hexdigest() if external else ""
    return f"{entry.uid}/{entry.version}/{outside}"
