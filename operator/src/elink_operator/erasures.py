"""`elink-operator erasures verify`: checks the chain of erasure records, in the cluster or in a file."""

import sys

from elink_operator.api.erasure import Verdict, verify
from elink_operator.cluster.kinds import ERASURE
from elink_operator.records import Unreadable, read_records


def verify_records(file: str = "", head: str = "") -> int:
    """Check and say what was found. Exit code: 0 intact, 1 a record is broken or missing, 2 the records cannot be read.

    `file`: the answer of `kubectl get ee -o json` ("-" for standard input) instead of the cluster.
    """
    try:
        records = read_records(ERASURE, file)
    except Unreadable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    verdict = verify(records, head=head)
    sys.stdout.write(sentence(verdict) + "\n")
    return 0 if verdict.intact else 1


def sentence(verdict: Verdict) -> str:
    """The verdict for people."""
    if not verdict.intact:
        return f"BROKEN at {verdict.broken}: {verdict.problem} ({verdict.records} records are there)"
    return f"intact: {verdict.records} records, newest hash {verdict.head}"
