"""What can go wrong with the object store, in words that a condition can show. All of it is retried."""


class ObjectStoreError(Exception):
    """A call that failed. `reason` is the CamelCase reason of a condition: StoreAway, WrongLogin or StoreRefused.

    `code` is the store's own error code, empty without an answer. The message never carries what was sent.
    """

    def __init__(self, message: str, *, reason: str = "StoreAway", code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code
        self.status = status


def refused(what: str, status: int, code: str) -> ObjectStoreError:
    """The error for an answer that is none of success."""
    reason = "WrongLogin" if status in (401, 403) else "StoreRefused"
    if status >= 500 or status == 429:
        reason = "StoreAway"
    return ObjectStoreError(
        f"the backup store refused to {what}: {status} {code}; it is tried again",
        reason=reason, code=code, status=status,
    )  # fmt: skip
