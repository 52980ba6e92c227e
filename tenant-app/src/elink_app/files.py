"""Directories of the tenants: `tenants/<directory>` under the files volume, and nothing outside it."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import structlog

from elink_app.registry.tenant import Tenant, TenantState

_DIRECTORY = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_RETRY_SECONDS = 10

log = structlog.get_logger("files")


class UnsafePath(ValueError):
    """A name that could lead out of the tenants' folder."""


def tenant_path(tenants_dir: Path, directory: str) -> Path:
    """The directory of one tenant; raises UnsafePath for any name that is not a plain label."""
    if not _DIRECTORY.match(directory):
        raise UnsafePath(directory)
    return tenants_dir / directory


def ensure_tenant_directory(tenants_dir: Path, directory: str) -> Path:
    """Make the directory (mode 0700) when it is not there; refuses to follow a symbolic link."""
    path = tenant_path(tenants_dir, directory)
    tenants_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise UnsafePath(directory) from None
    # On a volume with a set-group-ID bit or a default ACL the mode of mkdir is not the last word.
    if path.stat().st_mode & 0o007:
        os.chmod(path, 0o700)
    return path


class DirectoryKeeper:
    """Makes the directory of every Active tenant that appears, and tries again while the volume does not let it."""

    def __init__(self, tenants_dir: Path) -> None:
        self._tenants_dir = tenants_dir
        self._missing: set[str] = set()
        self._wake = asyncio.Event()

    def tenant_changed(self, _old: Tenant | None, new: Tenant | None) -> None:
        """Listener of the tenant directory."""
        if new is not None and new.state is TenantState.ACTIVE:
            self._missing.add(new.directory)
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for name in sorted(self._missing):
                try:
                    await asyncio.to_thread(ensure_tenant_directory, self._tenants_dir, name)
                except UnsafePath:
                    log.error("tenant directory refused", directory=name)
                except OSError as error:
                    log.warning("tenant directory not made", directory=name, reason=error.strerror)
                    continue
                self._missing.discard(name)
            if self._missing:
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()
