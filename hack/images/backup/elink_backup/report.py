"""What a job says: one JSON line on standard output, and the same as the pod's termination message for the operator."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

JST = timezone(timedelta(hours=9))
_MESSAGE_LIMIT = 4000  # the kubelet cuts a termination message at 4096 bytes


def now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


def jst(moment: datetime) -> str:
    """A time as logs show it: Japan Standard Time with its offset, whole seconds."""
    return moment.astimezone(JST).isoformat(timespec="seconds")


def report(**facts: Any) -> None:
    """Print `facts` as a JSON line and leave them as the termination message."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True)
    print(json.dumps({"time": jst(now()), **facts}, ensure_ascii=False, sort_keys=True), flush=True)
    target = Path(os.environ.get("ELINK_TERMINATION_LOG", "/dev/termination-log"))
    try:
        target.write_text(text[:_MESSAGE_LIMIT], encoding="utf-8")
    except OSError as error:
        print(json.dumps({"time": jst(now()), "warning": f"no termination message: {error.strerror}"}), flush=True)
