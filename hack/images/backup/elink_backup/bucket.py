"""The tenant's bucket, as far as restic does not look at it: what lies there, key files, uploads nobody finished."""

from __future__ import annotations

import configparser
import http.client
import ssl
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from elink_backup import errors
from elink_backup.errors import BackupError
from elink_backup.signature import Login, path_text, query_text, signed_headers

_SECONDS = 30.0


@dataclass(frozen=True)
class Bucket:
    """One bucket, `url` = `https://HOST[:PORT]/BUCKET`. Every call raises `BackupError`."""

    url: str
    region: str
    credentials: Path
    """A shared credentials file of the AWS tools."""
    ca: Path | None = None

    def objects(self, prefix: str, most: int | None = None) -> Iterator[tuple[str, int]]:
        """Key and bytes of every object below `prefix`, of the first `most` when that is given."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(most or 1000)}
        while True:
            page = self._ask(query)
            for found in page.iterfind("{*}Contents"):
                yield found.findtext("{*}Key") or "", int(found.findtext("{*}Size") or 0)
            token = page.findtext("{*}NextContinuationToken")
            if most is not None or not token:
                return
            query["continuation-token"] = token

    def get(self, key: str) -> bytes:
        """The content of a small object."""
        return self._send("GET", key, {})

    def put(self, key: str, content: bytes) -> None:
        """Write a small object."""
        self._send("PUT", key, {}, content)

    def delete(self, prefix: str) -> None:
        """Remove every object below `prefix`."""
        for key, _ in list(self.objects(prefix)):
            self._send("DELETE", key, {})

    def forget_uploads(self, prefix: str) -> None:
        """Remove the parts of uploads that a killed job did not finish; they cost room and are seen by nobody."""
        query = {"uploads": "", "prefix": prefix}
        while True:
            page = self._ask(query)
            for found in page.iterfind("{*}Upload"):
                key, upload = found.findtext("{*}Key") or "", found.findtext("{*}UploadId") or ""
                self._send("DELETE", key, {"uploadId": upload})
            if page.findtext("{*}IsTruncated") != "true":
                return
            query["key-marker"] = page.findtext("{*}NextKeyMarker") or ""
            query["upload-id-marker"] = page.findtext("{*}NextUploadIdMarker") or ""

    def _ask(self, query: dict[str, str]) -> ET.Element:
        found = _parsed(self._send("GET", "", query))
        if not found.tag.endswith("Result"):
            # What cannot be read must not pass for an empty list.
            raise BackupError(f"{self.url} does not answer as an S3 store does", errors.STORE_AWAY)
        return found

    def _send(self, method: str, key: str, query: dict[str, str], body: bytes = b"") -> bytes:
        path = f"{self.url}/{path_text(key)}" if key else self.url
        url = f"{path}?{query_text(query)}" if query else path
        headers = signed_headers(self._login(), self.region, method, url, body, datetime.now(UTC), {})
        request = urllib.request.Request(url, data=body or None, headers=headers, method=method)
        try:
            with self._opener().open(request, timeout=_SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if method == "DELETE" and error.code == 404:
                return b""
            code = _parsed(error.read()).findtext("{*}Code") or _parsed(b"").tag
            raise BackupError(
                f"the store refused {method} in {self.url}: {error.code} {code}",
                errors.answer_reason(error.code, code, writing=method != "GET"),
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise BackupError(f"the store cannot be reached at {self.url}: {error}", errors.STORE_AWAY) from error

    def _login(self) -> Login:
        # No interpolation: a secret may hold a per cent sign.
        known = configparser.ConfigParser(interpolation=None)
        try:
            known.read_string(self.credentials.read_text(encoding="utf-8"))
            return Login(known["default"]["aws_access_key_id"], known["default"]["aws_secret_access_key"])
        except (OSError, KeyError, configparser.Error):
            # Not the cause: a parser's error quotes the line, and the line is the secret.
            raise BackupError(f"{self.credentials} holds no log-in of the store", errors.WRONG_LOGIN) from None

    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        # Python 3.13 demands key identifiers, which certificates made by hand often lack; restic does not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
        return urllib.request.build_opener(*handlers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Where a store sends us to is no place for the tenant's signature."""

    def redirect_request(self, *_: object) -> None:
        """None makes the answer an HTTPError."""


def _parsed(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - expat of this Python refuses entity bombs; the store is ours
    except ET.ParseError:
        return ET.Element("NoXml")
