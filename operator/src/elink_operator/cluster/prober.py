"""Asks the isolation probe, a pod outside all servers, whether it can connect to something it must not reach."""

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any, Final

import aiohttp
import orjson

_CONTROL_AGE: Final = 30.0
_MARGIN: Final = 3.0


class Prober:
    """Client of `elink-operator probe`. `control` is (host, port) of something the probe must be able to reach."""

    def __init__(
        self,
        url: str,
        control: tuple[str, int],
        *,
        connect_timeout: float = 2.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._control = control
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._control_seen: float | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=8),
            timeout=aiohttp.ClientTimeout(total=connect_timeout + _MARGIN),
            trust_env=False,
        )

    async def __aenter__(self) -> "Prober":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def reachable(self, host: str, port: int) -> bool | None:
        """True: the probe connected. False: it could not, although it reaches the control. None: nobody knows.

        Ask only about what is up: a closed port cannot be told from one that a policy protects.
        """
        answer = await self._ask(host, port)
        if answer is not False:
            return answer
        return False if await self._control_works() else None

    async def _control_works(self) -> bool:
        now = self._clock()
        if self._control_seen is not None and now - self._control_seen < _CONTROL_AGE:
            return True
        works = await self._ask(*self._control) is True
        self._control_seen = now if works else None
        return works

    async def _ask(self, host: str, port: int) -> bool | None:
        query = {"host": host, "port": str(port), "timeout": str(self._connect_timeout)}
        try:
            async with self._session.get(f"{self._url}/check", params=query, allow_redirects=False) as response:
                if response.status != 200:
                    return None
                answer: Any = orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            return None
        if not isinstance(answer, dict) or not isinstance(answer.get("reachable"), bool):
            return None
        # A name that the probe cannot resolve says nothing about the network behind it.
        if not answer["reachable"] and answer.get("error") == "resolve":
            return None
        return bool(answer["reachable"])
