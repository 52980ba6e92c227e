"""How many mails may go to each recipient domain now, counted in the registry over all workers of this server.

A token bucket per domain. What one caller gets is half of what is there, at most: the next one finds something too,
whichever tenant it sends for. Tokens of a process that dies are lost; that sends less, never more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from elink_app.registry.connection import RegistryConnection

BURST_SECONDS = 5.0
# The lowest limit, one mail a minute, fills its bucket in this time. A full bucket needs no row.
_FULL_AFTER_SECONDS = 60

# In the order of the keys: workers with several domains in common would lock each other out.
_TAKE = """
INSERT INTO domain_pace AS p (domain, tokens, granted, filled_at)
SELECT domain, $3::float8 - n, n, now()
FROM (SELECT domain, least(n, ceil($3::float8 / 2)) AS n FROM unnest($1::int8[], $2::int4[]) AS w (domain, n)) AS wanted
ORDER BY domain
ON CONFLICT (domain) DO UPDATE SET (tokens, granted, filled_at) = (
    WITH filled AS (
        SELECT greatest(p.filled_at, excluded.filled_at) AS at, least($3::float8, p.tokens
            + $4::float8 * greatest(0, extract(epoch FROM excluded.filled_at - p.filled_at))) AS tokens
    ), shared AS (SELECT at, tokens, least(excluded.granted, ceil(tokens / 2), floor(tokens)) AS n FROM filled)
    SELECT tokens - n, n, at FROM shared)
RETURNING domain, granted, tokens
"""
_SWEEP = """
DELETE FROM domain_pace WHERE domain IN (
    SELECT domain FROM domain_pace WHERE filled_at < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True)
class Grant:
    """Mails that may go to a domain, and how long to wait for the next one's token, in seconds, when that is all."""

    mails: int
    next_after: float


class PaceTokens:
    """`per_minute` mails to each domain, by all who share the registry."""

    def __init__(self, registry: RegistryConnection, per_minute: int) -> None:
        self._registry = registry
        self._per_second = per_minute / 60
        self._capacity = max(1.0, self._per_second * BURST_SECONDS)

    async def take(self, wanted: Mapping[str, int]) -> dict[str, Grant]:
        """Take tokens for so many mails to each domain; a negative count gives back. Raises RegistryAway."""
        keys = {domain_key(domain): domain for domain in wanted}
        counts = [wanted[domain] for domain in keys.values()]
        rows = await self._registry.fetch(_TAKE, list(keys), counts, self._capacity, self._per_second)
        return {
            keys[row["domain"]]: Grant(row["granted"], max(0.0, 1 - row["tokens"]) / self._per_second) for row in rows
        }

    async def sweep(self) -> None:
        """Drop what says no more than that a bucket is full. Raises RegistryAway."""
        await self._registry.fetch(_SWEEP, _FULL_AFTER_SECONDS)


def domain_key(domain: str) -> int:
    """What the registry knows of a domain: whom tenants write to is theirs, and the registry is the platform's."""
    return int.from_bytes(hashlib.blake2b(domain.encode(), digest_size=8).digest(), "big", signed=True)
