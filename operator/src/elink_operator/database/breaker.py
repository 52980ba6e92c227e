"""The circuit breaker of one PostgreSQL: who is down is asked by one caller at a time, and costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row for `seconds`; then one caller tries, and its answer decides.

    `clock` gives monotonic seconds. A caller asks `admit()`, says `answered()` or `failed()`, and at the end `leave()`.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failures = 0
        self._open_until: float | None = None
        self._trying = False
        self._last: BaseException | None = None

    def admit(self) -> bool | None:
        """None: not now. True: this caller is the one that tries whether the server is back. False: go ahead."""
        if self._open_until is None:
            return False
        if self._trying or self._clock() < self._open_until:
            return None
        self._trying = True
        return True

    def answered(self) -> None:
        """The server gave an answer, whichever."""
        self._failures = 0
        self._open_until = None

    def failed(self, error: BaseException) -> None:
        """No answer. The same error on its way through nested calls counts once."""
        if error is self._last:
            return
        self._last = error
        self._failures += 1
        if self._failures >= self._limit or self._open_until is not None:
            self._open_until = self._clock() + self._seconds

    def leave(self, *, tried: bool) -> None:
        """The caller that tried is gone, even if it was cancelled before an answer."""
        if tried:
            self._trying = False
