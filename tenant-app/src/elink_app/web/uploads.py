"""Uploads are streamed into the tenant's own directory; no part of them is kept in memory or in /tmp."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from elink_app.errors import CsrfRefused
from elink_app.settings import Settings
from elink_app.web import csrf

_IMPORTS = frozenset({"/imports", "/api/v1/imports"})
_ATTACHMENTS = re.compile(r"(/api/v1)?/deliveries/[0-9]{1,19}/attachments\Z")
# So that whoever chose a file that is somewhat too large, as photographs are, reads why, not of a broken connection.
_REFUSED_KINDLY = 20_000_000
_MAX_FIELD = 4096
_MAX_PARTS = 20


@dataclass
class _Part:
    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)


class _Form:
    """Follows the parser: small fields are kept, the one file's bytes are handed on as they come."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.pending = bytearray()
        self._part = _Part()
        self._parts = 0
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}

    def on_part_begin(self) -> None:
        self._part = _Part()
        self._headers = {}
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise HTTPException(413)

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self.filename is not None:
                raise HTTPException(400)
            self._part.filename = options[b"filename"].decode("utf-8", "replace")
            self.filename = self._part.filename

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.filename is not None:
            self.pending += data[start:end]
            return
        self._part.data += data[start:end]
        if len(self._part.data) > _MAX_FIELD:
            raise HTTPException(413)

    def on_part_end(self) -> None:
        if self._part.filename is None:
            self.fields[self._part.name] = self._part.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class Received:
    """What came with a file: what the user calls it, the SHA-256 of what is in it, and the other fields of the form."""

    name: str
    sha256: str
    fields: Mapping[str, str] = field(default_factory=dict)


class NoRoom(HTTPException):
    """The file itself is larger than there is room for; as every other 413 where nobody says more of it."""

    def __init__(self) -> None:
        super().__init__(413)


def limit_of(path: str, settings: Settings) -> int:
    """The most bytes that a request to this path may have."""
    if path in _IMPORTS:
        return settings.upload_limit_bytes
    if _ATTACHMENTS.match(path):
        return settings.attachments_limit_bytes + _REFUSED_KINDLY
    return settings.body_limit_bytes


async def drain(request: Request) -> None:
    """Read what is left of a body and forget it: a browser that still sends hears no answer."""
    with contextlib.suppress(ClientDisconnect):
        async for _ in request.stream():
            pass


async def receive_form(request: Request, path: Path, room: int | None) -> Received:
    """Write the form's one file to `path`. Raises CsrfRefused, HTTPException 400 or 413.

    `room`: how many bytes there is place for, None = no limit; beyond it 413.
    A page's token must come before the file: nothing of a request without one reaches the disk. `csrf.guard` has
    asked for the API's.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    form = _Form()
    callbacks = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}

    async def file_bytes() -> AsyncIterator[bytes]:
        parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
            if form.filename is not None and csrf.is_upload(request):
                csrf.check(request, form.fields.get(csrf.FIELD))
            if form.pending:
                yield bytes(form.pending)
                form.pending.clear()
        parser.finalize()

    try:
        sha256 = await _write(file_bytes(), path, room)
    except (FormParserError, KeyError) as error:
        raise HTTPException(400) from error
    if form.filename is None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        bare = csrf.is_upload(request) and csrf.FIELD not in form.fields
        raise CsrfRefused if bare else HTTPException(400)
    return Received(form.filename, sha256, form.fields)


async def receive_body(request: Request, path: Path, room: int | None) -> Received:
    """Write the body to `path` as it is; the name in the query. Raises HTTPException 413 beyond `room` bytes."""
    sha256 = await _write(request.stream(), path, room)
    return Received(request.query_params.get("name", ""), sha256)


async def _write(chunks: AsyncIterator[bytes], path: Path, room: int | None) -> str:
    """The SHA-256 of what was written. A file that is not received whole is deleted."""
    written, digest = 0, hashlib.sha256()
    try:
        with await asyncio.to_thread(_create, path) as file:
            async for chunk in chunks:
                written += len(chunk)
                if room is not None and written > room:
                    raise NoRoom
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
    except BaseException as error:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        if isinstance(error, ClientDisconnect):
            raise HTTPException(400) from error
        raise
    return digest.hexdigest()


def _create(path: Path) -> BinaryIO:
    path.touch(mode=0o600, exist_ok=False)
    return path.open("wb")
