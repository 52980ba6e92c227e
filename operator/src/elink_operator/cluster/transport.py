"""One request to the API server: bounded retries, rate limit, fence, metrics."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import (
    ClusterError,
    NotLeader,
    TooManyRequests,
    Unavailable,
    from_response,
)
from elink_operator.cluster.kinds import Kind, Obj
from elink_operator.cluster.limiter import WriteLimiter
from elink_operator.metrics import Metrics

JSON: Final = "application/json"

_ATTEMPTS: Final = 4
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the client; durations in seconds."""

    connections: int = 64
    timeout: float = 30
    connect_timeout: float = 5
    writes_per_second: float = 200
    write_burst: int = 400
    page: int = 500


@dataclass(slots=True)
class Call:
    """One request, repeatable; `what` names it in errors and never holds a body."""

    verb: str
    kind: Kind
    method: str
    url: URL
    what: str
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    fenced: bool = True
    attempts: int = _ATTEMPTS
    timeout: float | None = None

    @property
    def write(self) -> bool:
        """Whether the call changes anything."""
        return self.method != "GET"


class Transport:
    """Sends calls. 429 (by its Retry-After), 5xx and broken connections are repeated with jitter, 409 never.

    A write waits for the limiter and raises NotLeader when `may_write()` is false at the moment of sending.
    `on_written(kind, answer)` gets the answer to every write.
    """

    def __init__(self, connection: Connection, metrics: Metrics, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.connection = connection
        self.may_write: Callable[[], bool] = lambda: True
        self.on_written: Callable[[Kind, Obj], None] = lambda kind, obj: None
        self.clock_skew: float | None = None
        """Seconds by which the API server's clock is ahead of ours, by its last answer; None before the first."""
        self._metrics = metrics
        self._limiter = WriteLimiter(self.limits.writes_per_second, self.limits.write_burst)
        self._metrics.write_rate.set_function(lambda: self._limiter.rate)
        self._session = connection.session(
            limit=self.limits.connections,
            connect_timeout=self.limits.connect_timeout,
            total_timeout=self.limits.timeout,
        )
        # Watches hold a connection each for minutes: they must not use up those of the other calls.
        self._streams = connection.session(limit=0, connect_timeout=self.limits.connect_timeout)

    async def close(self) -> None:
        """Close both sessions."""
        await self._session.close()
        await self._streams.close()

    async def send(self, call: Call) -> Obj:
        """The parsed answer, or a ClusterError after at most `call.attempts` tries."""
        pause = _FIRST_PAUSE
        for attempt in range(1, call.attempts + 1):
            if call.write and call.fenced:
                await self._limiter.acquire()
                if not self.may_write():
                    raise NotLeader(f"{call.what}: not the leader")
            try:
                answer = await self._once(call)
            except (TooManyRequests, Unavailable) as error:
                if isinstance(error, TooManyRequests):
                    self._limiter.throttled(error.retry_after or pause)
                if attempt == call.attempts:
                    raise
                self._metrics.request_retries.inc()
                wait = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                await asyncio.sleep(min(wait, _LONGEST_PAUSE))
                pause *= 2
                continue
            if call.write and "resourceVersion" in answer.get("metadata", {}):
                self.on_written(call.kind, answer)
            return answer
        raise AssertionError("unreachable: a call has at least one attempt")

    async def stream(self, call: Call, silence: float) -> AsyncGenerator[Obj, None]:
        """The JSON lines of a watch; Unavailable when it breaks (`Cut`) or says nothing for `silence` s (`Silent`)."""
        code = 0
        try:
            async with asyncio.timeout(silence):
                response = await self._streams.get(call.url, allow_redirects=False)
            async with response:
                code = response.status
                if code != 200:
                    raw = await response.read()
                    raise parse_error(code, raw, response.headers.get("Retry-After"), call.what)
                async for line in _lines(response.content, silence):
                    yield orjson.loads(line)
        except TimeoutError as error:
            raise Unavailable(f"{call.what}: silent for {silence:.0f} s", reason="Silent") from error
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
            raise Unavailable(f"{call.what}: {error or type(error).__name__}", reason="Cut") from error
        finally:
            self._metrics.requests.labels(call.verb, call.kind.kind, str(code)).inc()

    def _compare_clocks(self, date: str | None) -> None:
        with suppress(TypeError, ValueError):
            self.clock_skew = parsedate_to_datetime(date or "").timestamp() - time()

    async def _once(self, call: Call) -> Obj:
        headers = {"Accept": call.accept}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        timeout = aiohttp.ClientTimeout(
            total=call.timeout or self.limits.timeout, sock_connect=self.limits.connect_timeout
        )
        started, code = monotonic(), 0
        try:
            async with self._session.request(
                call.method, call.url, data=call.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                raw = await response.read()
                code = response.status
                self._compare_clocks(response.headers.get("Date"))
                if code >= 300:
                    raise parse_error(code, raw, response.headers.get("Retry-After"), call.what)
            answer: Obj = orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise Unavailable(f"{call.what}: {error or type(error).__name__}") from error
        finally:
            self._metrics.requests.labels(call.verb, call.kind.kind, str(code)).inc()
            # By class: each label value costs a whole set of buckets.
            group = f"{code // 100}xx" if code else "0"
            self._metrics.request_seconds.labels(call.verb, group).observe(monotonic() - started)
        return answer


def parse_error(code: int, raw: bytes, retry_after: str | None, what: str) -> ClusterError:
    """The ClusterError for an answer that is not a success."""
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    return from_response(code, body, seconds, what)


async def _lines(content: aiohttp.StreamReader, silence: float) -> AsyncGenerator[bytes, None]:
    """Lines of any length: the reader's own readline() refuses objects above 64 KiB."""
    rest = bytearray()
    while True:
        async with asyncio.timeout(silence):
            chunk = await content.readany()
        if not chunk:
            return
        rest += chunk
        if b"\n" not in chunk:
            continue
        *lines, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line:
                yield line
