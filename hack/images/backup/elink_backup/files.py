"""`elink-files`: an empty folder for a restore (`prepare`), the switch among the tenants' folders (`switch`), the way
back (`return`), `clear`.

The folder that a restore filled takes the place of the tenant's directory, which is kept. Each step is one rename and
each picture between two of them has one meaning, so a run that was killed is finished by the next one:

    directory  restored  kept
    yes or no  yes       no      before the switch
    no         yes       yes     between the two renames
    yes        no        yes     after the switch

Exit codes: 0 done (or was done already), 1 refused or failed, 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from elink_backup.folders import gone_name, kept_name, restore_name
from elink_backup.job import ID
from elink_backup.report import report


class Refused(Exception):
    """Something is not as it should be; nothing was changed. The message says what."""


@dataclass(frozen=True)
class Folders:
    """The folders of one tenant below an open parent. Names only, never paths: no link leads anywhere."""

    parent: int
    tenant: str

    @property
    def restored(self) -> str:
        """What the restore filled."""
        return restore_name(self.tenant)

    @property
    def kept(self) -> str:
        """What the tenant had before."""
        return kept_name(self.tenant)

    def there(self, name: str) -> bool:
        """Whether there is such a folder. Raises `Refused` for anything else of that name."""
        try:
            mode = os.lstat(name, dir_fd=self.parent).st_mode
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(mode):
            raise Refused(f"{name} is not a folder: a human must say what it is")
        return True

    def rename(self, before: str, after: str) -> None:
        """One step, on the disk when this returns."""
        os.rename(before, after, src_dir_fd=self.parent, dst_dir_fd=self.parent)
        os.fsync(self.parent)

    def make(self, name: str) -> None:
        """An empty folder of the tenant's."""
        os.mkdir(name, 0o700, dir_fd=self.parent)
        os.fsync(self.parent)

    def remove_if_empty(self, name: str) -> None:
        """Take an empty folder away: the app makes one for a tenant that has none."""
        with suppress(OSError):
            os.rmdir(name, dir_fd=self.parent)

    def remove(self, name: str) -> None:
        """With all that is in it."""
        shutil.rmtree(name, dir_fd=self.parent)
        os.fsync(self.parent)


def prepare(folders: Folders) -> bool:
    """An empty folder for a restore to fill; what an earlier try left goes."""
    clear(folders, folders.restored)
    folders.make(folders.restored)
    return True


def switch(folders: Folders) -> bool:
    """Put the restored folder in place; False when that was done already. A tenant without a directory keeps an empty
    one, so that the pictures stay distinct.
    """
    directory, restored, kept = (folders.there(name) for name in (folders.tenant, folders.restored, folders.kept))
    if not restored:
        if directory and kept:
            return False
        raise Refused("there is no restored folder to put in place")
    if directory and kept:
        directory = not _is_between(folders)
        if directory and folders.there(folders.kept):
            raise Refused(f"{folders.kept} is there already: clear it first, or bring it back")
    if directory:
        folders.rename(folders.tenant, folders.kept)
    elif not kept:
        folders.make(folders.kept)
    folders.rename(folders.restored, folders.tenant)
    return True


def bring_back(folders: Folders) -> bool:
    """Undo the switch; False when nothing is kept: never switched, or returned already."""
    directory, restored, kept = (folders.there(name) for name in (folders.tenant, folders.restored, folders.kept))
    if not kept:
        return False
    if directory and restored:
        directory = not _is_between(folders)
        if directory and not folders.there(folders.kept):
            return False
        if directory:
            raise Refused(f"{folders.restored} is there already: clear it first")
    if directory:
        folders.rename(folders.tenant, folders.restored)
    folders.rename(folders.kept, folders.tenant)
    return True


def _is_between(folders: Folders) -> bool:
    """With all three there: whether the switch stopped between its two renames, and the app made an empty directory.

    Else it has not begun, and an empty folder that somebody kept before (a move did) is in nobody's way and goes.
    """
    folders.remove_if_empty(folders.tenant)
    if not folders.there(folders.tenant):
        return True
    folders.remove_if_empty(folders.kept)
    return False


def clear(folders: Folders, name: str) -> bool:
    """Remove one of the two, and what a killed run was removing; False when there was nothing."""
    gone = gone_name(folders.tenant)
    found = folders.there(gone)
    if found:
        folders.remove(gone)
    if folders.there(name):
        folders.rename(name, gone)
        folders.remove(gone)
        found = True
    return found


@contextmanager
def _opened(parent: Path, tenant: str) -> Iterator[Folders]:
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Folders(fd, tenant)
    finally:
        os.close(fd)


def main() -> int:
    """Work on the folders of the tenant in ELINK_TENANT_ID below ELINK_TENANTS (/tenants)."""
    parser = argparse.ArgumentParser(prog="elink-files", description="Switch a tenant's directory and a restored one.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("prepare", help="an empty folder for a restore to fill")
    actions.add_parser("switch", help="put the restored folder in place, and keep the directory")
    actions.add_parser("return", help="bring the kept directory back")
    clearing = actions.add_parser("clear", help="remove the restored folder or the kept directory")
    which = clearing.add_mutually_exclusive_group(required=True)
    which.add_argument("--restore", action="store_true")
    which.add_argument("--kept", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tenant = os.environ.get("ELINK_TENANT_ID", "")
    if not ID.fullmatch(tenant):
        report(result="error", reason="WrongEnvironment", message="ELINK_TENANT_ID is not the ID of a tenant")
        return 2
    try:
        with _opened(Path(os.environ.get("ELINK_TENANTS", "/tenants")), tenant) as folders:
            if arguments.action == "prepare":
                changed = prepare(folders)
            elif arguments.action == "switch":
                changed = switch(folders)
            elif arguments.action == "return":
                changed = bring_back(folders)
            else:
                changed = clear(folders, folders.restored if arguments.restore else folders.kept)
            names = {"directory": tenant, "restored": folders.restored, "kept": folders.kept}
            present = sorted(what for what, name in names.items() if folders.there(name))
    except (Refused, OSError) as error:
        report(result="error", tenant=tenant, action=arguments.action, reason="FilesRefused", message=str(error)[:1000])
        return 1
    report(result="ok", tenant=tenant, action=arguments.action, changed=changed, present=present)
    return 0


if __name__ == "__main__":
    sys.exit(main())
