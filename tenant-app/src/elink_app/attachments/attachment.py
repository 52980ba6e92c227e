"""A file of a mail, as rows keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Attachment:
    """`size` in bytes, `sha256` in hexadecimal. `file` is its name on the tenant's shelf, told to nobody; empty when
    the content was deleted after it was sent and only the record stays."""

    name: str
    media_type: str
    size: int
    sha256: str
    file: str

    @property
    def kept(self) -> bool:
        """Whether there is more of it than its record."""
        return bool(self.file)

    @property
    def shown(self) -> dict[str, Any]:
        """What histories and the audit log say of it; never the content."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


def parse(rows: Iterable[Mapping[str, Any]]) -> tuple[Attachment, ...]:
    """What a JSON column holds."""
    return tuple(Attachment(**row) for row in rows)


def dump(attachments: Iterable[Attachment]) -> list[dict[str, Any]]:
    """The same for the column."""
    return [asdict(one) for one in attachments]
