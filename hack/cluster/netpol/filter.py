"""The kernel's side: loads text with nft and checks that it is still there."""

from __future__ import annotations

import os
import subprocess
from typing import IO

from .render import TABLE

SECONDS = 20.0


class FilterError(Exception):
    """nft refused or could not run; the former table is untouched, as nft loads all or nothing."""


def load(text: str) -> None:
    """Replace the table by `text` in one transaction; raise FilterError with nft's own words."""
    # In memory, as a full disk must not keep a policy from being enforced. Not a pipe: were this process killed
    # half-way, nft would take the part that says "delete" for the whole.
    with os.fdopen(os.memfd_create("rules"), "w+b") as file:
        file.write(text.encode())
        file.seek(0)
        _nft(["-f", "-"], file)


def present() -> bool:
    """Whether the table is loaded; False also when somebody flushed the whole ruleset."""
    try:
        _nft(["list", "chain", "inet", TABLE, "forward"])
    except FilterError:
        return False
    return True


def _nft(arguments: list[str], source: IO[bytes] | int = subprocess.DEVNULL) -> None:
    try:
        done = subprocess.run(["nft", *arguments], stdin=source, capture_output=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FilterError(str(error)) from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[:2000]
        raise FilterError(words or f"nft exited with {done.returncode}")
