"""What a run must not inherit from the one before it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def forget_deleted_files() -> None:
    """Empty the kernel's caches of the disk, as root on Linux; says so when it cannot.

    ext4 without a journal does not use an inode again for some minutes after its deletion, and looks at each such inode
    in its cache before it takes a free one. 450 tenants' databases took 110 s right after another run had removed its
    own, and 44 s with empty caches; three quarters of PostgreSQL's processor time went into that search (perf,
    2026-11-30).
    """
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError as error:
        print(f"the disk's caches stay as they are ({error}): a run within 5 minutes may be slow", file=sys.stderr)
