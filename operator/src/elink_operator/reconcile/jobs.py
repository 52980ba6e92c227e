"""The operator's Jobs: their pods, and when one that failed may be replaced."""

from datetime import datetime, timedelta
from typing import Final

from elink_operator import conditions, labels
from elink_operator.cluster.errors import Conflict
from elink_operator.cluster.kinds import JOB, POD, Obj
from elink_operator.reconcile.context import Context

_KEPT: Final = timedelta(minutes=2)
"""A Job that failed is kept for people to look at, then replaced."""


async def pods_of(ctx: Context, namespace: str, job: str, component: str = "") -> list[Obj]:
    """The pods of the Job of this name; of `component` only, when one is given."""
    selector = f"batch.kubernetes.io/job-name={job}" + (f",{labels.COMPONENT}={component}" if component else "")
    pods, _ = await ctx.client.list(POD, namespace=namespace, label_selector=selector)
    return list(pods)


def failed_long_ago(job: Obj, now: datetime) -> bool:
    """Whether the Job failed so long ago that it may be replaced."""
    listed = job.get("status", {}).get("conditions", ())
    failed = conditions.find(listed, "Failed")
    if failed is None or not conditions.is_true(listed, "Failed") or not failed.get("lastTransitionTime"):
        return False
    return now - conditions.parse_timestamp(str(failed["lastTransitionTime"])) > _KEPT


async def remove(ctx: Context, job: Obj) -> None:
    """Ask for the deletion of exactly this Job; one that took its name stays."""
    metadata = job["metadata"]
    try:
        await ctx.client.delete(JOB, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])
    except Conflict:
        return
