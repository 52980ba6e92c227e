"""How a reconcile stops early."""


class Waiting(Exception):
    """Something outside is missing; nothing failed. It becomes a condition, an Event and another look.

    `reason` is CamelCase, `message` says what is waited for and what a human can do; `retry_after` in seconds.
    """

    def __init__(self, reason: str, message: str, *, retry_after: float = 10) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
