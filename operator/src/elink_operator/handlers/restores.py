"""What happens when a restore changes: it is cached, and its name is queued."""

from typing import Any

import kopf

from elink_operator import naming
from elink_operator.cluster.kinds import RESTORE
from elink_operator.handlers.memo import OperatorMemo


@kopf.on.event(naming.GROUP, naming.VERSION, "elinkrestores")
async def restore_event(*, event: Any, memo: OperatorMemo, **_: Any) -> None:
    """Every event of a restore, the first list included (type None)."""
    memo.triggers.received(RESTORE, event["object"], deleted=event["type"] == "DELETED")
