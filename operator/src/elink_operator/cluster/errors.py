"""What a call to the API server can end with. Everything is a ClusterError."""

from typing import Any


class ClusterError(Exception):
    """A call that failed: `code` (HTTP status, 0 without an answer), `reason`, `retry_after` (seconds or None).

    The message is the server's; it never carries the body that was sent.
    """

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class NotFound(ClusterError):
    """The object, its namespace or the whole API does not exist."""


class Conflict(ClusterError):
    """Somebody else changed the object first, or it exists already: look again, never repeat blindly."""


class Gone(ClusterError):
    """The resourceVersion or the page of a list is too old: list again."""


class Invalid(ClusterError):
    """The server refuses the object; the same request will fail again."""


class Forbidden(ClusterError):
    """The operator lacks the right (or its token is refused)."""


class TooManyRequests(ClusterError):
    """The server asks to slow down; `retry_after` says for how long."""


class Unavailable(ClusterError):
    """No answer, a broken connection or a 5xx, also after the retries."""


class NotLeader(ClusterError):
    """Refused before it was sent: this process does not hold the Lease."""


_BY_CODE: dict[int, type[ClusterError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def from_response(code: int, body: Any, retry_after: float | None, what: str) -> ClusterError:
    """The error for an HTTP answer; `body` is a metav1.Status when the server gave one, `what` names the call."""
    message, reason = "", ""
    if isinstance(body, dict):
        message = str(body.get("message") or "")
        reason = str(body.get("reason") or "")
    if code == 404 and not message:
        # Of an object that is missing the server gives a Status, of a kind that it does not know a plain page.
        message = "the cluster does not serve this kind; is its API installed?"
    error = _BY_CODE.get(code, Unavailable if code >= 500 else Invalid)
    # A JSON patch whose `test` fails (or whose path is gone) comes back as 422 with this sentence and no causes:
    # somebody was faster.
    if code == 422 and "due to an error in our request" in message:
        error = Conflict
    return error(f"{what}: {message or f'HTTP {code}'}", code=code, reason=reason, retry_after=retry_after)
