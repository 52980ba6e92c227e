"""AWS Signature Version 4 for S3 requests with a short body. Pure, standard library only.

The operator and the backup image share no package, so each has this file; a test keeps the two equal.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Login:
    """An account of an S3 store."""

    access: str
    secret: str = field(repr=False)


def query_text(query: Mapping[str, str]) -> str:
    """A query string in the one spelling that is signed."""
    return "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in sorted(query.items()))


def path_text(path: str) -> str:
    """A path in the one spelling that is signed."""
    return quote(path, safe="/-_.~")


def signed_headers(
    login: Login, region: str, method: str, url: str, body: bytes, moment: datetime, extra: Mapping[str, str]
) -> dict[str, str]:
    """`extra` and the headers that prove who asks. `url` is spelled by `path_text` and `query_text`; `moment` is UTC.

    Source: "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference.
    """
    parts = urlsplit(url)
    stamp, digest = moment.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    own = {"host": parts.netloc, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    headers = {name.lower(): " ".join(value.split()) for name, value in extra.items()} | own
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join((method, parts.path or "/", parts.query, listed, names, digest))
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{login.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    proof = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={login.access}/{scope}"
    return headers | {"authorization": f"{_ALGORITHM} {credential},SignedHeaders={names},Signature={proof}"}
