"""The pace towards recipient domains, as one process sees it: which have to wait, and tokens taken and given back."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping

import structlog

from elink_app.registry.connection import RegistryAway
from elink_app.registry.pace import BURST_SECONDS, PaceTokens

# A domain that is asked again at every token costs a look at the queue for one mail. Half of the burst loses no token.
_HOLD_SECONDS = BURST_SECONDS / 2
_SWEEP_SECONDS = 60.0

log = structlog.get_logger("pace")


def domain_of(email_key: str) -> str:
    """The domain of an address in its comparable form."""
    return email_key.rpartition("@")[2]


class DomainRates:
    """Shared by the runs of a process. `tokens` None: as fast as it goes, and nothing is counted."""

    def __init__(self, tokens: PaceTokens | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        # Per tenant: one whose share is used up shall not stop another's first mail.
        self._held: dict[str, dict[str, float]] = defaultdict(dict)
        self._swept_at = monotonic()

    @property
    def limited(self) -> bool:
        """False when no pace is set."""
        return self._tokens is not None

    def held(self, tenant: str) -> list[str]:
        """The domains that this tenant leaves alone now."""
        now = self._monotonic()
        waiting = {domain: until for domain, until in self._held.pop(tenant, {}).items() if until > now}
        if waiting:
            self._held[tenant] = waiting
        return list(waiting)

    def wait(self, tenant: str) -> float:
        """Seconds until the first of the domains that are left alone may be asked again."""
        return max(0.0, min(self._held.get(tenant, {}).values(), default=0.0) - self._monotonic())

    async def take(self, tenant: str, domains: Collection[str]) -> Counter[str]:
        """Tokens for one mail per mention of a domain: how many each may get. Raises RegistryAway."""
        wanted = Counter(domains)
        if self._tokens is None or not wanted:
            return wanted
        granted: Counter[str] = Counter()
        now = self._monotonic()
        for domain, grant in (await self._tokens.take(wanted)).items():
            granted[domain] = grant.mails
            if grant.mails < wanted[domain]:
                self._held[tenant][domain] = now + max(_HOLD_SECONDS, grant.next_after)
        return granted

    async def give_back(self, unused: Mapping[str, int]) -> None:
        """Tokens of mails that were not sent after all. Without the registry they are lost, which only delays."""
        if self._tokens is None or not unused:
            return
        try:
            await self._tokens.take({domain: -count for domain, count in unused.items()})
        except RegistryAway as error:
            log.warning("tokens not given back", why=str(error))

    async def sweep(self) -> None:
        """Now and then, drop what nobody needs any more from the registry."""
        if self._tokens is None or self._monotonic() - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = self._monotonic()
        try:
            await self._tokens.sweep()
        except RegistryAway as error:
            log.warning("buckets not swept", why=str(error))
