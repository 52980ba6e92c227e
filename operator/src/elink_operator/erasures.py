"""`elink-operator erasures verify`: checks the chain of erasure records, in the cluster or in a file."""

import asyncio
import json
import sys
from typing import Any

from pydantic import ValidationError

from elink_operator.api.erasure import Verdict, verify
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import connect
from elink_operator.cluster.errors import ClusterError
from elink_operator.cluster.kinds import ERASURE, Obj
from elink_operator.metrics import Metrics
from elink_operator.settings import Settings


def verify_records(file: str = "", head: str = "") -> int:
    """Check and say what was found. Exit code: 0 intact, 1 a record is broken or missing, 2 the records cannot be read.

    `file`: the answer of `kubectl get ee -o json` ("-" for standard input) instead of the cluster.
    """
    try:
        records = _from_file(file) if file else asyncio.run(_from_cluster())
    except (OSError, ValueError, LookupError, ClusterError) as error:
        hint = "settings" if isinstance(error, ValidationError) else "records"
        sys.stderr.write(f"the {hint} cannot be read: {error}\n")
        return 2
    verdict = verify(records, head=head)
    sys.stdout.write(sentence(verdict) + "\n")
    return 0 if verdict.intact else 1


def sentence(verdict: Verdict) -> str:
    """The verdict for people."""
    if not verdict.intact:
        return f"BROKEN at {verdict.broken}: {verdict.problem} ({verdict.records} records are there)"
    return f"intact: {verdict.records} records, newest hash {verdict.head}"


def _from_file(path: str) -> list[Obj]:
    if path == "-":
        found = json.load(sys.stdin)
    else:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    items: Any = found.get("items", [found]) if isinstance(found, dict) else found
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("this is not what 'kubectl get ee -o json' prints")
    return items


async def _from_cluster() -> list[Obj]:
    async with Client(connect(Settings().kubeconfig), Metrics()) as client:
        records, _ = await client.list(ERASURE)
    return records
