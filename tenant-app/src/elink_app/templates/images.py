"""Files of images: what they are is told by their first bytes, never by what the sender says."""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path

from elink_app.files import ensure_tenant_directory, tenant_path

MAX_BYTES = 900_000
MAX_IMAGES = 500
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_NAME = re.compile(r"[a-z2-7]{26}\.(png|jpg|gif|webp)\Z")
_FOLDER = "img"


def kind_of(content: bytes) -> str | None:
    """The ending of a PNG, JPEG, GIF or WebP; None for anything else (SVG can hold scripts)."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return None


def new_name(ending: str) -> str:
    """A file name of 128 random bits."""
    return base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower() + f".{ending}"


def write(tenants_dir: Path, directory: str, name: str, content: bytes) -> None:
    """Write a new file; it appears whole or not at all."""
    folder = ensure_tenant_directory(tenants_dir, directory) / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    partial = folder / f".{name}.part"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / name)


def read(tenants_dir: Path, directory: str, name: str) -> bytes | None:
    """The content, or None when there is no such image."""
    if not _NAME.match(name):
        return None
    try:
        handle = os.open(tenant_path(tenants_dir, directory) / _FOLDER / name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(MAX_BYTES + 1)


def remove(tenants_dir: Path, directory: str, name: str) -> None:
    """Remove a file; one that is gone is as good."""
    if _NAME.match(name):
        (tenant_path(tenants_dir, directory) / _FOLDER / name).unlink(missing_ok=True)
