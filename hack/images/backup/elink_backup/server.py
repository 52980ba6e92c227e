"""`elink-server-backup`: copies of what belongs to a server and to no tenant (`server_data`), in their own repository.

`run` makes a generation, `list` and `verify` look at them, `restore` brings one into an empty folder (`registry.jsonl`,
`journals`, `manifest.json`), `forget` takes erased tenants out of all of them.

Exit codes: 0 done, 1 failed (older generations are untouched), 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from elink_backup import backup, errors, generations
from elink_backup.errors import BackupError
from elink_backup.forget import forget
from elink_backup.job import NAME, Job
from elink_backup.manifest import sha256_of
from elink_backup.report import jst, now, report
from elink_backup.repository import DUMP, MANIFEST, Repository
from elink_backup.server_data import JOURNALS, gather

REGISTRY = "registry.jsonl"


def bring_back(job: Job, wanted: str, into: Path) -> dict[str, Any]:
    """Restore a generation into an empty folder and compare it with its manifest. Raises `BackupError`, `OSError`."""
    if into.is_symlink() or (any(into.iterdir()) if into.is_dir() else into.exists()):
        raise BackupError(f"{into} is not an empty folder: a restore goes into an empty one only")
    store = Repository.of(job)
    chosen = generations.choose(store.snapshots() if store.exists else [], job.tenant, wanted)
    if chosen is None:
        raise BackupError(f"there is no generation {wanted} of the server in the store", "GenerationMissing")
    into.mkdir(mode=0o700, exist_ok=True)
    for part in ("database", "files"):
        store.restore(chosen.id, part, into)
    (into / Path(DUMP).name).rename(into / REGISTRY)
    manifest = json.loads((into / Path(MANIFEST).name).read_bytes())
    wanted_sums = {REGISTRY: manifest["dump"]["sha256"], **manifest["journals"]}
    folder = into / Path(JOURNALS).name
    found = {path.name: path for path in (*folder.iterdir(), into / REGISTRY)}
    sums = {name: sha256_of(path) for name, path in found.items()}
    different = sorted(name for name in sums.keys() | wanted_sums.keys() if sums.get(name) != wanted_sums.get(name))
    return {
        "generation": chosen.name,
        "made": chosen.made,
        "rows": manifest["tables"],
        "journals": len(manifest["journals"]),
        "different": different,
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="elink-server-backup", description="Back up a server's own data.")
    actions = parser.add_subparsers(dest="action")
    actions.add_parser("run", help="make one generation (the default)")
    actions.add_parser("list", help="what is in the store")
    actions.add_parser("verify", help="read every generation to its last byte")
    back = actions.add_parser("restore", help="bring a generation into an empty folder, and compare")
    back.add_argument("--generation", default="latest", help="such as 20260131T170000Z")
    back.add_argument("--into-directory", required=True, type=Path)
    actions.add_parser("forget", help="take the tenants in ELINK_LEAVERS out of every generation")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job = Job.of_server(os.environ)
        tenants = _leavers(os.environ.get("ELINK_LEAVERS", "")) if arguments.action == "forget" else {}
    except (KeyError, ValueError) as error:
        report(result="error", reason="WrongEnvironment", message=f"the environment is incomplete: {error}")
        return 2
    try:
        if arguments.action == "forget":
            return _forget(job, tenants)
        return _act(job, arguments)
    except BackupError as error:
        backup.report_failure(job, error.reason, str(error))
    except OSError as error:
        backup.report_failure(job, errors.store_reason(1, str(error)), str(error))
    return 1


def _act(job: Job, arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        return backup.tell_stored(job)
    if arguments.action == "verify":
        return backup.tell_verified(job)
    if arguments.action == "restore":
        facts = bring_back(job, arguments.generation, arguments.into_directory)
        report(result="error" if facts["different"] else "ok", tenant=job.tenant, **facts)
        return 1 if facts["different"] else 0
    journals = Path(os.environ.get("ELINK_JOURNALS", "/journals"))
    backup.tell_made(job, *backup.back_up(job, partial(gather, journals=journals)))
    return 0


def _leavers(text: str) -> dict[str, str]:
    """uid → name, from a JSON list of [name, uid]. ValueError when a word of it is not what it should be."""
    pairs = json.loads(text)
    if not (isinstance(pairs, list) and pairs):
        raise ValueError("ELINK_LEAVERS is no list of [name, uid]")
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) and word for word in pair)):
            raise ValueError("ELINK_LEAVERS is no list of [name, uid]")
        if not NAME.fullmatch(pair[0]):
            raise ValueError("ELINK_LEAVERS names something that is no tenant")
    return {uid: name for name, uid in pairs}


def _forget(job: Job, tenants: dict[str, str]) -> int:
    done = forget(job, tenants)
    report(
        result="error" if done.left else "ok",
        generations=done.generations,
        rewritten=done.rewritten,
        unreadable=done.unreadable,
        lines=done.lines,
        left=list(done.left),
        looked_again=jst(now()),
    )
    return 1 if done.left else 0


if __name__ == "__main__":
    sys.exit(main())
