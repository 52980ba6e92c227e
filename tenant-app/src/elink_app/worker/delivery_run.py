"""One delivery being sent by this process: rows are claimed, composed, signed, sent and written down."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from elink_app.database.errors import is_outage
from elink_app.deliveries.sending import MOST_WAIT, Claimed, Result, Sending
from elink_app.deliveries.states import RecipientState
from elink_app.mail.address import BadMailbox
from elink_app.mail.compose import Message, Recipient
from elink_app.mail.smtp import ConnectionFailed, Mail, Outcome
from elink_app.worker.claiming import BATCH, Batch, Job, Tools, claim
from elink_app.worker.delivery_results import ResultWriter, result_of
from elink_app.worker.domain_rates import domain_of

FOR_EVERYBODY = frozenset({Outcome.SENDER_REFUSED, Outcome.TOO_LARGE})
"""What the relay says of all mails of a delivery: no recipient is blamed, the delivery stands still."""
# Mails that a connection may send in a row while other deliveries wait for one.
_TURN = 100
# While one batch is signed the next is claimed.
_FILLERS = 3
_SHORT_WHILE = 0.05
_STALLED_SECONDS = 0.2

log = structlog.get_logger("deliveries")


@dataclass
class _InHand:
    row: Claimed
    at: datetime
    mail: Mail | None = None


class DeliveryRun:
    """Runs until nothing is due, or until `stop`. Afterwards `trouble` tells what kept it from going on."""

    def __init__(self, tools: Tools, job: Job) -> None:
        self._tools = tools
        self._job = job
        self._sending = True
        self._in_hand: dict[int, _InHand] = {}
        self._ready: deque[_InHand] = deque()
        self._filled = asyncio.Event()
        self._wanted = asyncio.Event()
        self._emptied = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._writer = ResultWriter(self._write, lambda: tools.gone(job.tenant))
        self._counters = {outcome: tools.metrics.mails.labels(outcome) for outcome in Outcome}
        # Tokens of domains whose mails were not sent.
        self._unused: Counter[str] = Counter()
        # Mails given back in a row because a connection broke before their body.
        self._broken = 0
        # "" or: relay, allowance, domains, one of FOR_EVERYBODY.
        self.trouble = ""

    def stop(self) -> None:
        """Begin no other mail. What is under way is finished and written down."""
        self._sending = False
        for event in (self._filled, self._wanted, self._emptied):
            event.set()

    async def run(self, patience: Callable[[], float]) -> None:
        """Send what is due. `patience()`: seconds that mails under way are waited for at the end."""
        writing = asyncio.create_task(self._writer.run())
        lanes = [asyncio.create_task(self._lane()) for _ in range(self._tools.pool.size)]
        try:
            await asyncio.gather(*(self._fill_on() for _ in range(_FILLERS)))
            while self._sending and self._in_hand:
                self._emptied.clear()
                await self._emptied.wait()
        finally:
            self.stop()
            await _ended(lanes, patience)
            for held in list(self._in_hand.values()):
                self._say(held, Outcome.UNSENT, "")
            self._writer.close()
            await writing
            await self._give_back()

    async def _fill_on(self) -> None:
        """Claim batch after batch until there is nothing to claim and nothing in hand."""
        while self._sending:
            if self._writer.stalled:
                await asyncio.sleep(_STALLED_SECONDS)
                continue
            if len(self._ready) >= BATCH:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            nothing_in_hand = not self._in_hand
            if not await self._fill():
                if nothing_in_hand or self.trouble:
                    return
                await asyncio.sleep(_SHORT_WHILE)

    async def _fill(self) -> bool:
        """Claim a batch and make it ready. False when nothing was due."""
        rows, now = await self._claim()
        if not rows:
            return False
        hands = [_InHand(row, now) for row in rows]
        self._in_hand.update((hand.row.id, hand) for hand in hands)
        job = self._job
        self._tools.journal.claimed(job.tenant.name, job.delivery_id, [(row.id, row.attempts) for row in rows])
        try:
            ready = await self._compose(hands, now)
        except BaseException:
            for hand in hands:
                if hand.row.id in self._in_hand:
                    self._say(hand, Outcome.UNSENT, "")
            raise
        self._ready.extend(ready)
        self._filled.set()
        return True

    async def _claim(self) -> tuple[list[Claimed], datetime]:
        """One after the other: whoever claims beside another has to look through the rows that the other takes."""
        async with self._claiming:
            now = self._tools.clock()
            batch = await claim(self._tools, self._job, now) if self._sending else Batch()
        self.trouble = batch.trouble or self.trouble
        if batch.over:
            self.stop()
        return batch.rows, now

    async def _compose(self, hands: Sequence[_InHand], now: datetime) -> list[_InHand]:
        """Fill in and sign; an address that cannot be written is refused."""
        good: list[tuple[_InHand, Message]] = []
        for hand in hands:
            recipient = Recipient(hand.row.id, hand.row.email, hand.row.slots)
            try:
                good.append((hand, self._job.composer.compose(recipient, now)))
            except BadMailbox:
                self._spare(hand)
                self._say(hand, Outcome.REFUSED, "bad_address")
        signer, messages = self._job.signer, [message for _, message in good]
        mails = await self._tools.signing.sign(messages, signer) if signer else [one.mail() for one in messages]
        for (hand, _), mail in zip(good, mails, strict=True):
            hand.mail = mail
        return [hand for hand, _ in good]

    async def _lane(self) -> None:
        """Use a connection while there are mails; give it back when there are none, or when others wait."""
        while self._sending:
            if self._writer.stalled:
                await asyncio.sleep(_STALLED_SECONDS)
                continue
            if not self._ready:
                self._filled.clear()
                await self._filled.wait()
                continue
            try:
                connection = await self._tools.pool.acquire()
            except ConnectionFailed as failed:
                if self._sending:
                    log.warning("no session with the relay", tenant=self._job.tenant.name, why=str(failed))
                self.trouble = self.trouble or "relay"
                self.stop()
                return
            try:
                await connection.run(_Turn(self))
            finally:
                self._tools.pool.release(connection)

    def next_mail(self) -> Mail | None:
        """The next mail for a connection; None when there is none now."""
        limit = self._tools.clock() - MOST_WAIT
        while self._ready and self._sending and not self._writer.stalled:
            hand = self._ready.popleft()
            if len(self._ready) < BATCH:
                self._wanted.set()
            if hand.at >= limit and hand.mail is not None:
                return hand.mail
            self._say(hand, Outcome.UNSENT, "")
        return None

    @property
    def others_wait(self) -> bool:
        """True when another delivery wants a connection."""
        return self._tools.pool.waiting > 0

    def begun(self, mail: Mail) -> None:
        """The mail may arrive from now on."""
        self._tools.journal.begun(self._key(self._in_hand[mail.id]))

    def ended(self, mail: Mail, outcome: Outcome, words: str) -> None:
        """What became of the mail."""
        hand = self._in_hand[mail.id]
        if outcome in FOR_EVERYBODY:
            log.error("the relay refuses all mails of a delivery", tenant=self._job.tenant.name, why=words)
            self.trouble = outcome.value
            self.stop()
        self._broken = self._broken + 1 if outcome is Outcome.UNSENT else 0
        if self._broken > 2 * self._tools.pool.size:
            self.trouble = self.trouble or "relay"
            self.stop()
        self._say(hand, outcome, words)

    def _say(self, hand: _InHand, outcome: Outcome, words: str) -> None:
        with contextlib.suppress(OSError):
            # The database is told all the same; the journal only helps when this process dies before.
            self._tools.journal.answered(self._key(hand), outcome, words)
        self._drop(hand)
        if outcome is Outcome.UNSENT:
            self._spare(hand)
        self._counters[outcome].inc()
        self._writer.add(
            result_of(
                hand.row.id,
                hand.row.attempts,
                outcome,
                words,
                now=self._tools.clock(),
                started_at=self._job.started_at,
                resend_unknown=self._job.resend_unknown,
            )
        )

    def _drop(self, hand: _InHand) -> None:
        self._in_hand.pop(hand.row.id, None)
        if not self._in_hand:
            self._emptied.set()

    def _spare(self, hand: _InHand) -> None:
        if self._tools.domains.limited:
            self._unused[domain_of(hand.row.email_key)] += 1

    async def _give_back(self) -> None:
        unused, self._unused = self._unused, Counter()
        await self._tools.domains.give_back(unused)

    async def _write(self, group: Sequence[Result]) -> None:
        job, now = self._job, self._tools.clock()
        unsent = [one for one in group if one.state is RecipientState.QUEUED]
        async with self._tools.transaction(job.tenant) as db:
            sending = Sending(db)
            await sending.record(job.delivery_id, [one for one in group if one.state is not RecipientState.QUEUED], now)
            spared = await sending.record(job.delivery_id, unsent, now)
        if spared and job.tenant.limits.mails_per_hour is not None:
            # By itself: a claim takes of the allowance first, and then touches what was written above.
            async with self._tools.transaction(job.tenant) as db:
                await Sending(db).give_allowance(spared)
        self._tools.journal.settled((job.tenant.name, job.delivery_id, one.id, one.attempts) for one in group)
        await self._give_back()

    def _key(self, hand: _InHand) -> tuple[str, int, int, int]:
        return (self._job.tenant.name, self._job.delivery_id, hand.row.id, hand.row.attempts)


class _Turn:
    """One connection's share of a run."""

    def __init__(self, run: DeliveryRun) -> None:
        self._run = run
        self._taken = 0

    def take(self) -> Mail | None:
        if self._taken >= _TURN and self._run.others_wait:
            return None
        self._taken += 1
        return self._run.next_mail()

    def sending(self, mail: Mail) -> None:
        self._run.begun(mail)

    def result(self, mail: Mail, outcome: Outcome, words: str) -> None:
        self._run.ended(mail, outcome, words)


async def _ended(lanes: Sequence[asyncio.Task[None]], patience: Callable[[], float]) -> None:
    """Wait for the lanes as long as `patience` says, which may change meanwhile; then break them off."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    pending = set(lanes)
    while pending and loop.time() - begun < patience():
        _, pending = await asyncio.wait(pending, timeout=0.25)
    for lane in pending:
        lane.cancel()
    for outcome in await asyncio.gather(*lanes, return_exceptions=True):
        if isinstance(outcome, Exception) and not is_outage(outcome):
            log.error("a connection's work failed", exc_info=outcome)
