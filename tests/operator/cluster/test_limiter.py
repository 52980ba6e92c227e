"""The rate of writes: bursts, the steady rate, halving on 429 and recovery."""

import asyncio
import time

import pytest
from elink_operator.cluster.limiter import WriteLimiter


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_burst_then_the_rate() -> None:
    limiter = WriteLimiter(rate=10, burst=20, clock=Clock())
    for _ in range(20):
        await limiter.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(limiter.acquire(), 0.05)
    limiter = WriteLimiter(rate=10, burst=20)
    started = time.monotonic()
    for _ in range(30):
        await limiter.acquire()
    assert time.monotonic() - started > 0.8


async def test_429_closes_halves_and_recovers() -> None:
    clock = Clock()
    limiter = WriteLimiter(rate=200, burst=1, clock=clock)
    await limiter.acquire()
    limiter.throttled(2)
    assert limiter.rate == 100
    for _ in range(20):
        limiter.throttled(2)
    assert limiter.rate == 5
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(limiter.acquire(), 0.05)
    clock.now = 12
    await limiter.acquire()
    assert limiter.rate == 5 + 12 * 200 * 0.05
    clock.now = 100
    await limiter.acquire()
    assert limiter.rate == 200


async def test_waiting_writes_go_in_the_order_of_arrival() -> None:
    limiter = WriteLimiter(rate=200, burst=1)
    order: list[int] = []

    async def write(number: int) -> None:
        await limiter.acquire()
        order.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert order == list(range(20))
