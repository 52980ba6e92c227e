"""What happens when a tenant changes: it is cached, and its name is queued."""

from typing import Any

import kopf

from elink_operator import naming
from elink_operator.cluster.kinds import TENANT
from elink_operator.handlers.memo import OperatorMemo


@kopf.on.event(naming.GROUP, naming.VERSION, "elinktenants")
async def tenant_event(*, event: Any, memo: OperatorMemo, **_: Any) -> None:
    """Every event of a tenant, the first list included (type None)."""
    memo.triggers.received(TENANT, event["object"], deleted=event["type"] == "DELETED")
