"""The floor: what a bare pipelined protocol with the same row keeping takes. No errors, no limits, no states between.

`python -m tests.bench.delivery.floor DSN PORT PEOPLE CONNECTIONS [PEM]`; prints one JSON line.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import resource
import sys
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import uvloop
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from elink_app.mail.base64_parts import Base64Template, Hole
from elink_app.mail.headers import encoded_words
from elink_app.mail.placeholders import Placeholder, parse

from tests.bench.delivery.message import HTML, SUBJECT, TEXT

TABLE = """
DROP TABLE IF EXISTS floor_recipient;
CREATE TABLE floor_recipient (id bigint PRIMARY KEY, email text, name text, state smallint DEFAULT 0,
    reply text DEFAULT '') WITH (fillfactor = 70);
CREATE INDEX floor_queue ON floor_recipient (id) WHERE state = 0;
INSERT INTO floor_recipient (id, email, name) SELECT n, 'to' || n || '@d' || n % 50 || '.example', '山田太郎' || n
    FROM generate_series(1, {people}) n;
ANALYZE floor_recipient
"""
CLAIM = """
WITH due AS (SELECT id FROM floor_recipient WHERE state = 0 ORDER BY id LIMIT 250 FOR UPDATE SKIP LOCKED)
UPDATE floor_recipient r SET state = 1 FROM due WHERE r.id = due.id RETURNING r.id, r.email, r.name
"""
FINISH = """
UPDATE floor_recipient r SET state = 2, reply = v.reply FROM unnest($1::bigint[], $2::text[]) AS v (id, reply)
WHERE r.id = v.id
"""
INDEX = {"氏名": 0, "配信停止URL": 1}


def template(source: str) -> Base64Template:
    pieces = [Hole(INDEX[p.name], b"") if isinstance(p, Placeholder) else p.encode() for p in parse(source)]
    return Base64Template(pieces)


PARTS = (template(TEXT), template(HTML))


def compose(number: int, email: str, name: str) -> tuple[bytes, bytes]:
    link = f"https://sakura.example/u/{number:040d}"
    values = (name.encode(), link.encode())
    body = (
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + PARTS[0].render(values)
        + b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + PARTS[1].render(values)
        + b"--b--\r\n"
    )
    subject = encoded_words(SUBJECT.replace("{{氏名|お客様}}", name))
    head = (
        f"From: info@sakura.example\r\nTo: {email}\r\nMessage-ID: <{number}@sakura.example>\r\nMIME-Version: 1.0\r\n"
        f"List-Unsubscribe: <{link}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\nSubject: '
    ).encode() + subject
    return head + b"\r\n", body


def sign(key: rsa.RSAPrivateKey, head: bytes, body: bytes) -> bytes:
    digest = b64encode(hashlib.sha256(body).digest())
    signature = b64encode(key.sign(head + digest, padding.PKCS1v15(), hashes.SHA256()))
    return b"DKIM-Signature: v=1; a=rsa-sha256; d=sakura.example; s=x; bh=" + digest + b"; b=" + signature + b"\r\n"


def sign_all(key: rsa.RSAPrivateKey, mails: list[tuple[int, str, bytes, bytes]]) -> list[tuple[int, str, bytes, bytes]]:
    return [(number, email, sign(key, head, body) + head, body) for number, email, head, body in mails]


class Lane(asyncio.Protocol):
    """One connection; the next mail's commands go out with this mail's body."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.buffer = b""
        self.mail: tuple[int, bytes, bytes] | None = None
        self.waiting_for = 0
        self.greeting = 2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(b"EHLO floor\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] == b" ":
                self.reply(line)

    def reply(self, line: bytes) -> None:
        if self.greeting:
            self.greeting -= 1
            if not self.greeting:
                self.begin()
            return
        self.waiting_for -= 1
        if self.waiting_for == 3:
            self.floor.done(self.sent, line.decode())
        if self.waiting_for == 0 and line.startswith(b"354"):
            assert self.mail is not None
            self.sent, _, body = self.mail
            self.mail = self.floor.next()
            self.waiting_for = 4 if self.mail else 1
            self.transport.write(body + b".\r\n" + (self.mail[1] if self.mail else b""))  # type: ignore[attr-defined]
            return
        if self.waiting_for == 0:
            self.floor.done(self.sent, line.decode())
            self.floor.idle.append(self)

    def begin(self) -> None:
        self.mail = self.floor.next()
        if self.mail is None:
            self.floor.idle.append(self)
            return
        self.waiting_for = 3
        self.transport.write(self.mail[1])  # type: ignore[attr-defined]


class Floor:
    """Claims, composes, hands out, writes down."""

    def __init__(self, pool: asyncpg.Pool, people: int, key: rsa.RSAPrivateKey | None) -> None:
        self.pool, self.people, self.key = pool, people, key
        self.ready: list[tuple[int, bytes, bytes]] = []
        self.results: list[tuple[int, str]] = []
        self.idle: list[Lane] = []
        self.finished = 0
        self.threads = ThreadPoolExecutor(2)
        self.wanted, self.enough = asyncio.Event(), asyncio.Event()

    def next(self) -> tuple[int, bytes, bytes] | None:
        if len(self.ready) < 250:
            self.wanted.set()
        return self.ready.pop() if self.ready else None

    def done(self, number: int, words: str) -> None:
        self.results.append((number, words))
        if len(self.results) >= 250:
            self.enough.set()

    async def fill(self) -> None:
        loop = asyncio.get_running_loop()
        while rows := await self.pool.fetch(CLAIM):
            mails = [(row[0], row[1], *compose(row[0], row[1], row[2])) for row in rows]
            if self.key is not None:
                parts = [mails[at : at + 10] for at in range(0, len(mails), 10)]
                signed = await asyncio.gather(
                    *(loop.run_in_executor(self.threads, sign_all, self.key, part) for part in parts)
                )
                mails = [mail for part in signed for mail in part]
            for number, email, head, body in mails:
                commands = f"MAIL FROM:<info@sakura.example>\r\nRCPT TO:<{email}>\r\nDATA\r\n".encode()
                self.ready.append((number, commands, head + b"\r\n" + body))
            idle, self.idle = self.idle, []
            for lane in idle:
                lane.begin()
            while len(self.ready) >= 250:
                self.wanted.clear()
                await self.wanted.wait()

    async def write(self) -> None:
        while self.finished < self.people:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.enough.wait(), 0.2)
            self.enough.clear()
            group, self.results = self.results, []
            if group:
                await self.pool.execute(FINISH, [one[0] for one in group], [one[1] for one in group])
                self.finished += len(group)


def peak_mb() -> float:
    """Not `ru_maxrss`: that begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


async def main(dsn: str, port: int, people: int, connections: int, pem: str) -> None:
    """One run; the table is made anew before the clock starts."""
    pool = await asyncpg.create_pool(dsn, min_size=3, max_size=3)
    await pool.execute(TABLE.format(people=people))
    key = serialization.load_pem_private_key(pem.encode(), None) if pem else None
    floor = Floor(pool, people, key)  # type: ignore[arg-type]
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Lane(floor), "127.0.0.1", port)
    await asyncio.gather(floor.fill(), floor.fill(), floor.write())
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "rss_mb": peak_mb(), "seconds": time.monotonic() - begun}))
    await pool.close()


if __name__ == "__main__":
    _pem = Path(sys.argv[5]).read_text() if len(sys.argv) > 5 else ""
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), _pem))
