"""The ElinkErasure of a tenant: the record of its erasure, linked to the one before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from elink_operator import labels, naming
from elink_operator.api import ElinkTenant, erasure
from elink_operator.api.erasure import Remaining, StoreErased, record_name, seal
from elink_operator.desired.pod import Obj
from elink_operator.jst import jst
from elink_operator.settings import Settings

_NOTHING = "asked again: nothing found"


@dataclass(frozen=True)
class Link:
    """The newest record of the chain; sequence 0 before the first."""

    sequence: int = 0
    hash: str = erasure.FIRST


@dataclass(frozen=True)
class Removed:
    """One place: what was removed, when, and when a second look found nothing."""

    store: str
    name: str
    removed: str
    removed_at: datetime
    rechecked_at: datetime


def build_erasure(
    settings: Settings,
    tenant: ElinkTenant,
    stores: Sequence[Removed],
    *,
    neighbours: str,
    remains: Sequence[Remaining] = (),
    now: datetime,
    after: Link,
) -> Obj:
    """The record that follows `after`. Nothing of the customer is in it but the tenant's own name."""
    started = tenant.status.erasure.started_at if tenant.status.erasure else None
    until = jst(now + timedelta(days=settings.common_log_days))
    spec = {
        "sequence": after.sequence + 1,
        "tenant": tenant.name,
        "tenantUid": tenant.metadata.uid,
        "plan": tenant.spec.plan.value,
        "server": tenant.status.server,
        "cancelledAt": jst(tenant.status.cancelled_at),
        "eraseAfter": jst(tenant.status.erase_after),
        "startedAt": jst(started or now),
        "erasedAt": jst(now),
        "stores": [
            StoreErased(
                store=one.store,
                name=one.name,
                removed=one.removed,
                removed_at=jst(one.removed_at),
                rechecked_at=jst(one.rechecked_at),
                recheck=_NOTHING,
            ).dump()
            for one in stores
        ],
        "neighbours": neighbours[:1024],
        "remains": [
            {"what": "common logs of gateway, app and operator, which hold no data of the customer", "until": until},
            *(one.dump() for one in remains),
        ],
        "previous": after.hash,
    }
    name = record_name(after.sequence + 1)
    return {
        "apiVersion": naming.API_VERSION,
        "kind": erasure.KIND,
        "metadata": {
            "name": name,
            "labels": {
                labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
                labels.TENANT: tenant.name,
                labels.TENANT_UID: tenant.metadata.uid,
            },
        },
        "spec": seal(spec),
    }
