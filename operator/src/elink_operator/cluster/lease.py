"""Leadership by a Lease: at most one replica writes, and it knows when it may no longer."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog

from elink_operator import naming
from elink_operator.cluster.client import Client
from elink_operator.cluster.errors import ClusterError, Conflict, NotFound
from elink_operator.cluster.kinds import LEASE, Obj
from elink_operator.metrics import Metrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: validity of the Lease, after which time without renewal the holder stops, pause between tries."""

    duration: float = 15
    renew_deadline: float = 10
    retry: float = 2

    def __post_init__(self) -> None:
        if not self.retry < self.renew_deadline < self.duration:
            raise ValueError("a lease needs retry < renew deadline < duration")


class LeaseLost(Exception):
    """The Lease could not be renewed in time, or somebody else holds it: stop everything at once."""


class Elector:
    """Acquires and renews the Lease. All times are this process's monotonic clock: clocks of nodes may differ.

    `is_leader` turns False by itself when renewal stops, `renew_deadline` seconds after the last success was
    *sent*; a rival may take over `duration` seconds after it saw that renewal, so there is a gap of safety.
    """

    def __init__(
        self,
        client: Client,
        identity: str,
        namespace: str,
        metrics: Metrics,
        *,
        times: LeaseTimes | None = None,
        name: str = naming.LEASE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.identity = identity
        self.acquired = asyncio.Event()
        self.holder: str | None = None
        self._client = client
        self._namespace = namespace
        self._name = name
        self._times = times or LeaseTimes()
        self._clock = clock
        self._valid_until = float("-inf")
        self._lease: Obj | None = None
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = float("-inf")
        metrics.leader.set_function(lambda: float(self.is_leader))

    @property
    def is_leader(self) -> bool:
        """Whether this process may write now."""
        return self._clock() < self._valid_until

    async def run(self) -> None:
        """Wait for the Lease, then keep it. Raises LeaseLost when it is lost; ends only by that or cancellation."""
        while not await self._try():
            await self._sleep()
        log.info("became the leader", identity=self.identity)
        self.acquired.set()
        while True:
            await self._sleep()
            if not await self._try() and (self.holder != self.identity or not self.is_leader):
                self._valid_until = float("-inf")
                raise LeaseLost(f"the Lease is held by {self.holder or 'nobody'}")
            if not self.is_leader:
                raise LeaseLost("the Lease was not renewed in time")

    async def release(self) -> None:
        """Give the Lease back, so that a rival need not wait; call after the last write."""
        held, self._valid_until = self.is_leader, float("-inf")
        if not held or self._lease is None:
            return
        lease = {**self._lease, "spec": {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            await self._client.put_unfenced(LEASE, lease, timeout=self._times.retry)
        except ClusterError as error:
            log.warning("lease not released", error=str(error))
        else:
            log.info("lease released", identity=self.identity)

    async def _try(self) -> bool:
        """One attempt to acquire or renew within the time that is left; False when it did not succeed."""
        sent = self._clock()
        timeout = min(self._times.renew_deadline / 2, self._times.retry * 2)
        try:
            async with asyncio.timeout(timeout):
                lease = await self._claim(timeout)
        except (ClusterError, TimeoutError) as error:
            if isinstance(error, Conflict):
                # Somebody wrote the Lease after we read it: who, shows the next look at it.
                self._lease = None
            if self.acquired.is_set() or not isinstance(error, Conflict):
                log.warning("lease not renewed", error=str(error) or type(error).__name__)
            return False
        if lease is None:
            return False
        self._lease = lease
        self._valid_until = sent + self._times.renew_deadline
        return True

    async def _claim(self, timeout: float) -> Obj | None:
        lease = self._lease
        if lease is None or not self.is_leader:
            try:
                lease = await self._client.get_once(LEASE, self._name, self._namespace, timeout=timeout)
            except NotFound:
                self.holder = self.identity
                return await self._client.create(LEASE, self._new(), fenced=False)
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or None
        if self.holder not in (None, self.identity) and not self._expired(spec):
            return None
        took_over = self.holder != self.identity
        renewed: Obj = {
            **lease,
            "spec": {
                **spec,
                "holderIdentity": self.identity,
                "leaseDurationSeconds": max(1, round(self._times.duration)),
                "renewTime": _now(),
            },
        }
        if took_over:
            renewed["spec"]["acquireTime"] = _now()
            renewed["spec"]["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        answer = await self._client.put_unfenced(LEASE, renewed, timeout=timeout)
        self.holder = self.identity
        return answer

    def _expired(self, spec: dict[str, Any]) -> bool:
        """Whether the record has not changed for its whole duration, by our own clock."""
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, self._clock()
            return False
        duration = max(float(spec.get("leaseDurationSeconds") or 0), self._times.duration)
        return self._clock() - self._seen_at > duration

    def _new(self) -> Obj:
        now = _now()
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": max(1, round(self._times.duration)),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    async def _sleep(self) -> None:
        await asyncio.sleep(self._times.retry * random.uniform(0.8, 1.2))  # noqa: S311 - jitter


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
