"""Files of imports, exports and mails, under random names in the tenant's own directory."""

from __future__ import annotations

import os
import re
import secrets
import stat
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from elink_app.files import ensure_tenant_directory, tenant_path
from elink_app.registry.tenant import Tenant

_NAME = re.compile(r"[0-9a-f]{32}(\.[a-z]{3,5})?\Z")


class Shelf(StrEnum):
    """What lies where."""

    IMPORTS = "imports"
    EXPORTS = "exports"
    ATTACHMENTS = "attachments"


class FileStore:
    """Nothing that a user writes becomes part of a path."""

    def __init__(self, tenants_dir: Path) -> None:
        self._tenants_dir = tenants_dir

    def new(self, tenant: Tenant, shelf: Shelf, suffix: str = "") -> str:
        """A name that nothing has yet; its folder is there afterwards."""
        folder = ensure_tenant_directory(self._tenants_dir, tenant.directory) / shelf.value
        folder.mkdir(mode=0o700, exist_ok=True)
        return secrets.token_hex(16) + suffix

    def path(self, tenant: Tenant, shelf: Shelf, name: str) -> Path:
        """Where the file is; raises ValueError for a name that `new` cannot have made."""
        if not _NAME.match(name):
            raise ValueError(name)
        return tenant_path(self._tenants_dir, tenant.directory) / shelf.value / name

    def read(self, tenant: Tenant, shelf: Shelf, name: str, most: int) -> bytes:
        """The content, at most `most` bytes and one; raises OSError for a file that is gone or is a link."""
        handle = os.open(self.path(tenant, shelf, name), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            return file.read(most + 1)

    def names_before(self, tenant: Tenant, shelf: Shelf, moment: datetime) -> list[str]:
        """Files that nobody has written to since."""
        folder = tenant_path(self._tenants_dir, tenant.directory) / shelf.value
        if not folder.is_dir():
            return []
        return [
            entry.name
            for entry in os.scandir(folder)
            if _NAME.match(entry.name) and entry.stat(follow_symlinks=False).st_mtime < moment.timestamp()
        ]

    def remove(self, tenant: Tenant, shelf: Shelf, name: str) -> None:
        """Delete a file; one that is gone already is no error."""
        self.path(tenant, shelf, name).unlink(missing_ok=True)

    def used(self, tenant: Tenant) -> int:
        """How many bytes the tenant's files take."""
        folder = tenant_path(self._tenants_dir, tenant.directory)
        return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)


def is_plain_file(path: Path) -> bool:
    """True for a file that is there and is no link to another one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
