"""The tenant that a restore AsNew makes: what the source's spec says of a customer, without its place and its mails."""

from elink_operator import labels
from elink_operator.api.restore import ElinkRestore
from elink_operator.api.tenant import ElinkTenant, Plan, State

COPY_MARK = "（複製）"
_DISPLAY_NAME_MAX = 200


def copy_of(source: ElinkTenant, restore: ElinkRestore, server: str | None) -> ElinkTenant:
    """The new tenant as it is to be created; `server` pins a Shared one.

    Host and backup time are its own, the host is its name. Raises ValueError when the restore makes no new tenant.
    """
    if restore.spec.as_new is None:
        raise ValueError(f"restore {restore.name} makes no new tenant")
    name = source.spec.display_name[: _DISPLAY_NAME_MAX - len(COPY_MARK)]
    shared = source.spec.plan is Plan.SHARED
    spec = source.spec.model_copy(
        update={
            "display_name": f"{name}{COPY_MARK}",
            "host": None,
            "state": State.ACTIVE,
            "state_reason": "",
            "server": server if shared else None,
            "backup": source.spec.backup.model_copy(update={"schedule": None}),
        }
    )
    marks = {
        labels.RESTORED_FROM: source.name,
        labels.RESTORED_BY: restore.metadata.uid,
    }
    body = {"metadata": {"name": restore.spec.as_new.tenant, "annotations": marks}, "spec": spec.dump()}
    return ElinkTenant.parse(body)


def made_by(tenant: ElinkTenant, restore: ElinkRestore) -> bool:
    """Whether the tenant is the copy that this very restore made."""
    return bool(restore.metadata.uid) and tenant.metadata.annotations.get(labels.RESTORED_BY) == restore.metadata.uid
