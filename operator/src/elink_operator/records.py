"""Reading records for the commands: from the cluster, or from what kubectl printed."""

import asyncio
import json
import sys
from typing import Any

from pydantic import ValidationError

from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import connect
from elink_operator.cluster.errors import ClusterError
from elink_operator.cluster.kinds import Kind, Obj
from elink_operator.metrics import Metrics
from elink_operator.settings import Settings


class Unreadable(Exception):
    """The records, or the settings that say where they are, cannot be read; the message says why."""


def read_records(kind: Kind, file: str = "", label_selector: str | None = None) -> list[Obj]:
    """All records of a kind. Raises Unreadable.

    `file`: the answer of `kubectl get … -o json` ("-" for standard input) instead of the cluster; the selector is for
    the cluster only.
    """
    try:
        return _from_file(file) if file else asyncio.run(_from_cluster(kind, label_selector))
    except (OSError, ValueError, LookupError, ClusterError) as error:
        what = "settings" if isinstance(error, ValidationError) else "records"
        raise Unreadable(f"the {what} cannot be read: {error}") from error


def _from_file(path: str) -> list[Obj]:
    if path == "-":
        found = json.load(sys.stdin)
    else:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    items: Any = found.get("items", [found]) if isinstance(found, dict) else found
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("this is not what 'kubectl get -o json' prints")
    return items


async def _from_cluster(kind: Kind, label_selector: str | None) -> list[Obj]:
    async with Client(connect(Settings().kubeconfig), Metrics()) as client:
        records, _ = await client.list(kind, label_selector=label_selector)
    return records
