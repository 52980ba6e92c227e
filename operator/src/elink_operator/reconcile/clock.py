"""Whether the time may be believed before something is removed because of it."""

from typing import Final

import structlog

from elink_operator.reconcile.context import Context

log = structlog.get_logger()

_TOLERANCE: Final = 300.0
"""Seconds that our clock may differ from the API server's."""


def clock_is_trusted(ctx: Context) -> bool:
    """Whether our clock agrees with the API server's: with one that runs ahead everything ends too early."""
    skew = ctx.client.clock_skew
    if skew is not None and abs(skew) > _TOLERANCE:
        log.error("clocks disagree, so nothing is removed for its age", api_server_ahead_seconds=round(skew))
        return False
    return True
