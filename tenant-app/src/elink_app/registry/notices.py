"""The operator's notices to a tenant, read from the registry when they are asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg
import structlog

from elink_app.database.connect import WrongConnection, open_connection
from elink_app.settings import Settings

_TIMEOUT = 5.0
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


class RegistryAway(Exception):
    """The registry did not answer; what it says is unknown, not empty."""


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
    """One connection to the registry, opened at the first use and again after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lock = asyncio.Lock()

    async def of(self, tenant: str, now: datetime) -> list[Notice]:
        """What was published to the tenant until `now`, newest first, 500 at most; raises RegistryAway."""
        try:
            async with self._lock:
                rows = await (await self._open()).fetch(_READ, tenant, now, _MOST, timeout=_TIMEOUT)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, WrongConnection) as error:
            self.close()
            log.warning("notices not read", tenant=tenant, why=type(error).__name__)
            raise RegistryAway from error
        return [Notice(**{**dict(row), "type": NoticeType(row["type"])}) for row in rows]

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(self._settings, self._settings.registry_database)
        return self._connection
