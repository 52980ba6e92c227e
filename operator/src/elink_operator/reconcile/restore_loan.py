"""A restore on another server than the source's reads the source's store with copies of its Secrets, for a while."""

import base64

from elink_operator import labels, naming
from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import SECRET
from elink_operator.desired.secret import build_borrowed_secret
from elink_operator.desired.store import repository_of
from elink_operator.reconcile.restore_case import Case, Place, RestoreFailed


async def borrow(case: Case, place: Place) -> None:
    """Copy what the store's access names into the target's namespace; nothing on the same server."""
    lender, source = case.lender(place.server.name), case.live_source()
    if lender is None:
        return
    marks = {
        **labels.tenant_labels(place.server.name, place.inputs.target.name),
        labels.RESTORE: case.restore.name,
    }
    for secret, keys in repository_of(source.name, case.ctx.settings).secrets.items():
        values = await _read(case, lender, secret)
        if values is None and secret == naming.backup_key_copy(source.name):
            # The source's server may be gone; the key outlives it.
            values = await _read(case, case.ctx.settings.namespace, naming.backup_key_secret(source.name))
        if values is None or not set(keys) <= set(values):
            raise RestoreFailed("KeyMissing", f"Secret {secret} with the access to the backups is gone; bring it back")
        name = naming.borrowed_secret(case.restore.metadata.uid, secret)
        wanted = {key: values[key] for key in keys}
        await case.ctx.applier.apply_if_changed(SECRET, build_borrowed_secret(name, place.namespace, marks, wanted))


async def give_back(case: Case, place: Place) -> None:
    """Remove the copies; those of a source that is gone too."""
    found, _ = await case.ctx.client.list(
        SECRET, namespace=place.namespace, label_selector=f"{labels.RESTORE}={case.restore.name}"
    )
    for secret in found:
        metadata = secret["metadata"]
        await case.ctx.client.delete(SECRET, metadata["name"], namespace=place.namespace, uid=metadata["uid"])


async def _read(case: Case, namespace: str, name: str) -> dict[str, str] | None:
    try:
        secret = await case.ctx.client.get(SECRET, name, namespace)
    except NotFound:
        return None
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
