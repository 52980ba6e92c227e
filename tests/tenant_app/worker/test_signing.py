"""Signing for a delivery: in the event loop and beside it, every mail once and in order."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import dkim
import pytest
from elink_app.mail.compose import Composer, Content, Message, Origin, Recipient
from elink_app.mail.dkim import Signer, dns_record, new_private_pem
from elink_app.worker.signing import Signing

PEM = new_private_pem()
NOW = datetime(2026, 11, 30, tzinfo=UTC)
COMPOSER = Composer(
    1, Content("件名", "本文", "", "info@sakura.example"), Origin("uid-1", b"k" * 32, "https://sakura.example")
)


class WatchedSigner(Signer):
    """Remembers which threads signed, and fails when told to."""

    def __init__(self) -> None:
        super().__init__("sakura.example", "x", PEM)
        self.threads: list[int] = []
        self.fails_at = -1
        self._numbers = itertools.count(1)

    def sign(self, head, values, body):  # type: ignore[no-untyped-def]
        self.threads.append(threading.get_ident())
        if next(self._numbers) == self.fails_at:
            raise ValueError("no key")
        return super().sign(head, values, body)


def messages(count: int) -> list[Message]:
    return [COMPOSER.compose(Recipient(number, f"to{number}@there.example", ()), NOW) for number in range(count)]


@pytest.fixture
async def signing() -> AsyncIterator[Signing]:
    made = Signing()
    yield made
    made.close()


@pytest.mark.parametrize("count", [0, 1, 8, 9, 250])
async def test_every_mail_is_signed_once_and_keeps_its_place(signing: Signing, count: int) -> None:
    signer = WatchedSigner()
    mails = await signing.sign(messages(count), signer)
    assert [mail.id for mail in mails] == list(range(count))
    assert len(signer.threads) == count
    record = dns_record(PEM).encode()
    for mail in mails[::50]:
        assert dkim.verify(mail.body.removesuffix(b".\r\n"), dnsfunc=lambda name, timeout=5: record)


async def test_the_event_loop_helps_the_thread_and_does_its_own_work_meanwhile(signing: Signing) -> None:
    signer, turns = WatchedSigner(), 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(other_work())
    await signing.sign(messages(250), signer)
    other.cancel()
    assert len(set(signer.threads)) == 2
    own = signer.threads.count(threading.get_ident())
    assert turns >= own / 8


@pytest.mark.parametrize("fails_at", [1, 20, 250])
async def test_a_failure_of_either_is_told_and_ends_the_work(signing: Signing, fails_at: int) -> None:
    signer = WatchedSigner()
    signer.fails_at = fails_at
    with pytest.raises(ValueError, match="no key"):
        await signing.sign(messages(250), signer)
    again = await signing.sign(messages(10), WatchedSigner())
    assert len(again) == 10


async def test_a_run_that_is_broken_off_leaves_nothing_to_sign(signing: Signing) -> None:
    signer = WatchedSigner()
    running = asyncio.create_task(signing.sign(messages(2_000), signer))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await signing.sign(messages(1), WatchedSigner())
    assert 0 < len(signer.threads) < 2_000
