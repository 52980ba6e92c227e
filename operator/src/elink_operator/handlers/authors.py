"""Admission webhooks `/tenant-author`, `/server-author` and `/restore-author`: who changed spec or annotations.

Only admission knows the user of a request. The answer is an annotation that the webhook alone decides on: what a user
writes into it is overwritten. Nothing is ever refused here (docs/adr/0019).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import kopf

from elink_operator import labels, naming
from elink_operator.api.change import LONGEST_WHO
from elink_operator.desired.change import annotations_digest
from elink_operator.jst import jst

logger = logging.getLogger(__name__)

OPERATIONS: Final = ("CREATE", "UPDATE")


@kopf.on.mutate(naming.GROUP, naming.VERSION, "elinktenants", id="tenant-author", operations=OPERATIONS)
@kopf.on.mutate(naming.GROUP, naming.VERSION, "elinkservers", id="server-author", operations=OPERATIONS)
@kopf.on.mutate(naming.GROUP, naming.VERSION, "elinkrestores", id="restore-author", operations=OPERATIONS)
async def note_author(*, userinfo: Mapping[str, Any], patch: kopf.Patch, **kwargs: Any) -> None:
    """Write the annotations `changed-by` and `annotated-by`."""
    try:
        new, old = kwargs["new"] or {}, kwargs["old"] or {}
        for key, value in authors(new, old, str(userinfo.get("username") or ""), jst(datetime.now(UTC))).items():
            if _annotations(new).get(key) != value:
                patch.metadata.annotations[key] = value
    except Exception:
        # Not knowing who it was must not keep anybody from working.
        logger.warning("admission: who changed an object could not be noted", exc_info=True)


def authors(new: Mapping[str, Any], old: Mapping[str, Any], user: str, now: str) -> dict[str, str | None]:
    """The two annotations as they must be; None: not there. `old` is empty for a creation."""
    who = "".join(c for c in user if c.isprintable())[:LONGEST_WHO]
    before, after = _annotations(old), _annotations(new)
    changed_by, annotated_by = before.get(labels.CHANGED_BY), before.get(labels.ANNOTATED_BY)
    if not old:
        changed_by = f"1 {who}"
    elif old.get("spec") != new.get("spec"):
        changed_by = f"{old['metadata'].get('generation', 0) + 1} {who}"
    if labels.by_people(before) != labels.by_people(after):
        annotated_by = f"{annotations_digest(after)} {now} {who}"
    return {labels.CHANGED_BY: changed_by, labels.ANNOTATED_BY: annotated_by}


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = (obj.get("metadata") or {}).get("annotations") or {}
    return found
