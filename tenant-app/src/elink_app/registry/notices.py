"""The operator's notices to a tenant, read from the registry when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from elink_app.registry.connection import RegistryAway, RegistryConnection

_MOST = 500
_READ = """
SELECT id, type, severity, title_ja, title_en, body_ja, body_en, starts_at, detected_at, published_at, withdrawn_at
FROM notice WHERE tenant = $1 AND published_at <= $2 ORDER BY published_at DESC, id LIMIT $3
"""

log = structlog.get_logger("notices")


class NoticeType(StrEnum):
    """What a notice is about."""

    CHANGE = "Change"
    MAINTENANCE = "Maintenance"
    INCIDENT = "Incident"
    VULNERABILITY = "Vulnerability"
    RELOCATION = "Relocation"


@dataclass(frozen=True)
class Notice:
    """One row of `notice`. Texts are plain; one of the two languages may be empty."""

    id: str
    type: NoticeType
    severity: str
    title_ja: str
    title_en: str
    body_ja: str
    body_en: str
    starts_at: datetime | None
    detected_at: datetime | None
    published_at: datetime
    withdrawn_at: datetime | None

    def title(self, language: str) -> str:
        """The title in this language, else in the other."""
        return (self.title_ja or self.title_en) if language == "ja" else (self.title_en or self.title_ja)

    def body(self, language: str) -> str:
        """The text in this language, else in the other."""
        return (self.body_ja or self.body_en) if language == "ja" else (self.body_en or self.body_ja)

    @property
    def must_be_acknowledged(self) -> bool:
        """True when having seen it is not enough."""
        return self.type is NoticeType.INCIDENT


class NoticeReader:
    """Reads notices; holds nothing."""

    def __init__(self, registry: RegistryConnection) -> None:
        self._registry = registry

    async def of(self, tenant: str, now: datetime) -> list[Notice]:
        """What was published to the tenant until `now`, newest first, 500 at most; raises RegistryAway."""
        try:
            rows = await self._registry.fetch(_READ, tenant, now, _MOST)
        except RegistryAway as error:
            log.warning("notices not read", tenant=tenant, why=str(error))
            raise
        return [Notice(**{**dict(row), "type": NoticeType(row["type"])}) for row in rows]
