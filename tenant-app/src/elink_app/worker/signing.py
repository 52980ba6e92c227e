"""Signing mails on two processors: in a thread, and in the event loop between its other work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from elink_app.mail.compose import Message
from elink_app.mail.dkim import Signer
from elink_app.mail.smtp import Mail

# Two or three milliseconds: connections do not wait for longer.
_CHUNK = 8


class Signing:
    """Signs for all deliveries of a process.

    A signature gives up the GIL, and whoever wants it back waits for the others: one thread, which the event loop
    helps, signs more than two threads do (docs/benchmarks.md).
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "dkim")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def sign(self, messages: Sequence[Message], signer: Signer) -> list[Mail]:
        """The mails, signed, in the order of `messages`."""
        work = _Work(messages, signer)
        thread = asyncio.get_running_loop().run_in_executor(self._thread, work.sign_all)
        try:
            while (chunk := work.take()) is not None:
                work.sign(chunk)
                await asyncio.sleep(0)
            await thread
        finally:
            # Of a run that is broken off.
            work.give_up()
        return work.mails()


class _Work:
    """Chunks of messages: whoever is free takes the next one."""

    def __init__(self, messages: Sequence[Message], signer: Signer) -> None:
        self._chunks = [messages[at : at + _CHUNK] for at in range(0, len(messages), _CHUNK)]
        self._left = deque(range(len(self._chunks)))
        self._signer = signer
        self._signed: dict[int, list[Mail]] = {}

    def take(self) -> int | None:
        """The number of a chunk that nobody has taken; None when there is none."""
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def sign(self, chunk: int) -> None:
        """Sign one chunk."""
        self._signed[chunk] = [message.mail(self._signer) for message in self._chunks[chunk]]

    def sign_all(self) -> None:
        """Sign what is left."""
        while (chunk := self.take()) is not None:
            self.sign(chunk)

    def give_up(self) -> None:
        """Begin no other chunk."""
        self._left.clear()

    def mails(self) -> list[Mail]:
        """All of them, in order."""
        return [mail for chunk in range(len(self._chunks)) for mail in self._signed[chunk]]
