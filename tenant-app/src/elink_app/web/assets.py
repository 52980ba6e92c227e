"""Static files under names that hold the hash of their content: they may be kept for a year and never go stale."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib import resources

_KINDS = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class Asset:
    """A file in memory."""

    content: bytes
    media_type: str


class Assets:
    """Read once from the package. Only these names can be asked for, so no path can lead elsewhere."""

    def __init__(self) -> None:
        self._by_public: dict[str, Asset] = {}
        self._public: dict[str, str] = {}
        for file in sorted(resources.files("elink_app.web").joinpath("static").iterdir(), key=lambda file: file.name):
            if not file.is_file() or file.name.startswith(("_", ".")):
                continue
            stem, dot, ending = file.name.rpartition(".")
            content = file.read_bytes()
            public = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}{dot}{ending}"
            media_type = _KINDS.get(f".{ending}") or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self._by_public[public] = Asset(content, media_type)
            self._public[file.name] = public

    def url(self, name: str) -> str:
        """The path of a file for a page; KeyError for a file that is not there."""
        return f"/static/{self._public[name]}"

    def find(self, public: str) -> Asset | None:
        """The file of this public name."""
        return self._by_public.get(public)
