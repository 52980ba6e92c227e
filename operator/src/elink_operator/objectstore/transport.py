"""One signed request to an S3 store and its answer."""

import asyncio
import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from elink_operator.objectstore.errors import ObjectStoreError, refused
from elink_operator.objectstore.signature import Login, path_text, query_text, signed_headers
from elink_operator.trust import client_context

_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
_LARGEST: Final = 8 << 20
"""Bytes of an answer: a page of a thousand names is a third of a megabyte."""


def admin_login(folder: Path) -> Login:
    """The store's administrator, from the files `access-key` and `secret-key`; ObjectStoreError when one is missing."""
    try:
        access, secret = ((folder / name).read_text(encoding="utf-8").strip() for name in ("access-key", "secret-key"))
    except OSError as error:
        raise ObjectStoreError(
            f"the log-in of the backup store cannot be read ({error.strerror}): look at the Secret that the chart's "
            "backup.s3.secretName names",
            reason="WrongLogin",
        ) from error
    return Login(access, secret)


@dataclass(frozen=True)
class Answer:
    """Status and parsed body; an empty element when there is no XML."""

    status: int
    body: ET.Element

    @property
    def code(self) -> str:
        """The store's error code, or an empty text."""
        return self.body.findtext("{*}Code") or ""


class Transport:
    """Signs and sends. `clock` gives the aware UTC present; `credentials` is read at each request, as it may change."""

    def __init__(
        self, endpoint: str, region: str, credentials: Path, clock: Callable[[], datetime], authority: Path | None
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._clock = clock
        tls = client_context(file=str(authority) if authority else None)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(
        self,
        what: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        fine: Collection[str | int] = (),
    ) -> Answer:
        """Send one request. Raises ObjectStoreError.

        `what` completes "the backup store refused to"; `fine`: statuses and error codes besides 2xx.
        """
        url = f"{self._endpoint}{path_text(path)}" + (f"?{query_text(query)}" if query else "")
        extra = dict(headers or {})
        if body:
            # Some stores ask for it where a body says what goes.
            extra["content-md5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        login = admin_login(self._credentials)
        signed = signed_headers(login, self._region, method, url, body, self._clock(), extra)
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=body or None, headers=signed, allow_redirects=False
            ) as response:
                content = await _whole(response)
                answer = Answer(response.status, _parsed(content))
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:  # noqa: UP041 - one name for both
            text = str(error) or type(error).__name__
            raise ObjectStoreError(f"the backup store does not answer ({text}); it is tried again") from error
        if 200 <= answer.status < 300 or answer.status in fine or answer.code in fine:
            return answer
        raise refused(what, answer.status, answer.code)


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise ObjectStoreError(f"the backup store answers with more than {_LARGEST >> 20} MiB")
    return b"".join(parts)


def _parsed(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - expat refuses entity bombs; the store is ours
    except ET.ParseError:
        return ET.Element("NoXml")
