"""What happens when a server changes: it is cached, and its name is queued."""

from typing import Any

import kopf

from elink_operator import naming
from elink_operator.cluster.kinds import SERVER
from elink_operator.handlers.memo import OperatorMemo


@kopf.on.event(naming.GROUP, naming.VERSION, "elinkservers")
async def server_event(*, event: Any, memo: OperatorMemo, **_: Any) -> None:
    """Every event of a server, the first list included (type None)."""
    memo.triggers.received(SERVER, event["object"], deleted=event["type"] == "DELETED")
