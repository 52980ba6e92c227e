"""Deliveries per second beside a floor in the same run, and what a kill -9 costs. `make bench-delivery`.

`python -m tests.bench.delivery [--people 20000] [--rounds 3] [--kills 5] [--workers 1]`. PostgreSQL with fsync, sender
and sink share the machine. Rounds interleave the worker and the floor; medians count. At the end two more deliveries
are watched: what pages take meanwhile. Prints one JSON line per run and one at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from elink_app.mail.dkim import new_private_pem
from elink_operator.database.model import TenantDb

from tests.bench.cpu import cpu_of, cpu_of_postgres
from tests.bench.delivery.message import HTML, SUBJECT, TEXT
from tests.bench.delivery.pages import reader
from tests.bench.operator.process import percentile
from tests.support.postgres import running
from tests.tenant_app.support import Server, make_settings, new_tenant

CONNECTIONS = 40
HERE = Path(__file__).parent
INSERT = """
INSERT INTO delivery (name, category, state, subject, text_body, html_body, from_name, from_address, fields,
    frozen_at, total)
VALUES ('bench', 'advert', 'approved', $1, $2, $3, '株式会社さくら商店', 'info@sakura.example', '{氏名}', now(), $4)
RETURNING id
"""
RECIPIENTS = """
INSERT INTO delivery_recipient (delivery_id, address_id, email, email_key, slots, next_at)
SELECT $1, n, 'to' || n || '@d' || n % 50 || '.example', 'to' || n || '@d' || n % 50 || '.example',
    jsonb_build_array('山田太郎' || n), now() FROM generate_series(1, $2) n
"""


class Sink:
    """The Go sink as a process."""

    def __init__(self, folder: Path) -> None:
        program = folder / "sink"
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE / "sink", check=True)
        self.process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self._line().split(" ")[0])

    def recipients(self, folder: Path) -> set[str]:
        self.ask(f"dump {folder / 'dump'}")
        return set((folder / "dump").read_text().splitlines())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


async def at_rest(pid: int) -> None:
    """Until a process that has begun takes next to no CPU any more: its start is not what is measured."""
    calm, before = 0, 0.0
    while calm < 2:
        await asyncio.sleep(1)
        now = cpu_of(pid)
        calm = calm + 1 if now > 0.5 and now - before < 0.1 else 0
        before = now


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@dataclass
class Bench:
    """One server, one sink, one folder."""

    server: Server
    sink: Sink
    folder: Path
    people: int
    pem: str
    workers: int = 1

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        settings = self.server.settings
        variables = {
            **os.environ,
            "ELINK_DB_HOST": settings.db_host,
            "ELINK_DB_PORT": str(settings.db_port),
            "ELINK_DB_PASSWORD_FILE": str(settings.db_password_file),
            "ELINK_FILES_DIR": str(self.folder / "files"),
            "ELINK_SMTP_HOST": "127.0.0.1",
            "ELINK_SMTP_PORT": str(self.sink.port),
            "ELINK_SMTP_CONNECTIONS": str(CONNECTIONS),
            "ELINK_BOUNCE_DOMAIN": "bounce.sakura.example",
            "ELINK_TASK_LOOK_SECONDS": "1",
        }
        with (self.folder / "worker.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.tenant_app.worker.sender_process", env=variables, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()

    async def tenant(self, *, signed: bool) -> tuple[TenantDb, int, float]:
        """A tenant with a frozen delivery; its bytes per recipient before the sending."""
        tenant = new_tenant()
        await self.server.ensure(tenant)
        async with self.server.inside(tenant.database) as inside:
            delivery = await inside.fetchval(INSERT, SUBJECT, TEXT, HTML, self.people)
            await inside.execute(RECIPIENTS, delivery, self.people)
            await inside.execute("ANALYZE")
            if signed:
                await inside.execute(
                    "INSERT INTO dkim_key (domain, selector, private_pem, active) "
                    "VALUES ('sakura.example', 'x', $1, true)",
                    self.pem,
                )
            return tenant, delivery, await self.bytes_per_recipient(inside)

    async def bytes_per_recipient(self, inside: Any) -> float:
        total = await inside.fetchval("SELECT pg_total_relation_size('delivery_recipient')")
        return float(total) / self.people

    async def release(self, tenant: TenantDb, delivery: int) -> None:
        async with self.server.inside(tenant.database) as inside:
            await inside.execute("UPDATE delivery SET state = 'sending', started_at = now() WHERE id = $1", delivery)

    async def done(self, tenant: TenantDb, delivery: int) -> None:
        async with asyncio.timeout(600), self.server.inside(tenant.database) as inside:
            state = "SELECT state FROM delivery WHERE id = $1"
            while await inside.fetchval(state, delivery) != "done":  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.2)

    async def ours(self, *, signed: bool) -> dict[str, float]:
        """The worker as it is, with all its records."""
        tenant, delivery, before = await self.tenant(signed=signed)
        self.sink.ask("reset")
        async with AsyncExitStack() as stack:
            pids = [(await stack.enter_async_context(self.worker())).pid for _ in range(self.workers)]
            for pid in pids:
                await at_rest(pid)
            own, database = sum(map(cpu_of, pids)), cpu_of_postgres(self.server.postgres)
            await self.release(tenant, delivery)
            await self.done(tenant, delivery)
            cpu = sum(map(cpu_of, pids)) - own + cpu_of_postgres(self.server.postgres) - database
            peak = max(map(peak_mb, pids))
        async with self.server.inside(tenant.database) as inside:
            after = await self.bytes_per_recipient(inside)
            accepted = await inside.fetchval("SELECT accepted FROM delivery WHERE id = $1", delivery)
        return self.figures(accepted, cpu) | {"rss_mb": peak, "db_bytes_frozen": before, "db_bytes_sent": after}

    async def watched(self, *, signed: bool) -> dict[str, float]:
        """Seconds that pages take while a delivery is being sent."""
        tenant, delivery, _ = await self.tenant(signed=signed)
        async with self.server.inside(tenant.database) as inside:
            await inside.execute("INSERT INTO delivery_draft (delivery_id) VALUES ($1)", delivery)
        own = f"/deliveries/{delivery}"
        async with AsyncExitStack() as stack:
            person = await stack.enter_async_context(reader(self.server, tenant))
            for _ in range(self.workers):
                await at_rest((await stack.enter_async_context(self.worker())).pid)
            await self.release(tenant, delivery)
            reading = asyncio.create_task(person.read(["/", "/deliveries", own, f"{own}/recipients", "/addresses"]))
            done = asyncio.create_task(self.done(tenant, delivery))
            await asyncio.wait([reading, done], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await done
        return {
            "pages": len(person.took),
            "page_p50_s": percentile(person.took, 0.5),
            "page_p95_s": percentile(person.took, 0.95),
            "page_max_s": max(person.took),
        }

    async def floor(self, *, signed: bool) -> dict[str, float]:
        """The bare protocol with the bare rows."""
        self.sink.ask("reset")
        pem = self.folder / "pem"
        pem.write_text(self.pem)
        command = [
            sys.executable, "-m", "tests.bench.delivery.floor", self.server.postgres.url(), str(self.sink.port),
            str(self.people), str(CONNECTIONS), *([str(pem)] if signed else []),
        ]  # fmt: skip
        database = cpu_of_postgres(self.server.postgres)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        told = json.loads(output)
        cpu = told["cpu"] + cpu_of_postgres(self.server.postgres) - database
        return self.figures(self.people, cpu) | {"rss_mb": told["rss_mb"]}

    def figures(self, recorded: int, cpu: float) -> dict[str, float]:
        stats = self.sink.ask("stats")
        if (stats["unique"], stats["duplicates"], recorded) != (self.people, 0, self.people):
            raise SystemExit(f"not everybody got one mail: {stats}, recorded {recorded}")
        return {
            "mails_per_second": self.people / stats["seconds"],
            "cpu_per_1000": cpu / self.people * 1000,
            "wire_bytes": stats["bytes"] / self.people,
        }

    async def kill(self) -> dict[str, float]:
        """kill -9 when half has left, and a new process."""
        tenant, delivery, _ = await self.tenant(signed=False)
        self.sink.ask("reset")
        await self.release(tenant, delivery)
        async with self.worker() as process:
            half = self.people / 2
            while self.sink.ask("stats")["accepted"] < half:  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        at = self.sink.ask("stats")["accepted"]
        begun = time.monotonic()
        async with self.worker():
            await self.done(tenant, delivery)
        async with self.server.inside(tenant.database) as inside:
            rows = await inside.fetch("SELECT email, state FROM delivery_recipient WHERE delivery_id = $1", delivery)
        arrived = self.sink.recipients(self.folder)
        accepted = {row["email"] for row in rows if row["state"] == "accepted"}
        unknown = {row["email"] for row in rows if row["state"] == "unknown"}
        return {
            "killed_at": at,
            "lost": self.people - len(accepted | unknown) + len(accepted - arrived),
            "sent_twice": self.sink.ask("stats")["duplicates"],
            "unrecorded": len(arrived - accepted - unknown),
            "unknown": len(unknown),
            "unknown_that_arrived": len(unknown & arrived),
            "seconds_to_end": time.monotonic() - begun,
        }


def signing_rate(pem: str, seconds: float = 2.0) -> float:
    """RSA signatures per second of two threads: what no signer can exceed here."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    end = time.monotonic() + seconds

    def work() -> int:
        count = 0
        while time.monotonic() < end:
            key.sign(b"x" * 600, padding.PKCS1v15(), hashes.SHA256())
            count += 1
        return count

    with ThreadPoolExecutor(2) as threads:
        return sum(future.result() for future in [threads.submit(work) for _ in range(2)]) / seconds


@contextmanager
def prepared(people: int, workers: int = 1) -> Iterator[Bench]:
    with running(fsync=True) as postgres, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(postgres, make_settings(postgres, folder))
        asyncio.run(server.prepare())
        sink = Sink(folder)
        try:
            yield Bench(server, sink, folder, people, new_private_pem(), workers)
        finally:
            sink.process.kill()


def median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def summary(rounds: dict[str, list[dict[str, float]]], signing: list[float]) -> dict[str, Any]:
    rate = {name: median(runs, "mails_per_second") for name, runs in rounds.items()}
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "mails_per_second": {name: round(value) for name, value in rate.items()},
        "ratio_unsigned": round(rate["unsigned"] / rate["unsigned_floor"], 3),
        "ratio_signed": round(rate["signed"] / rate["signed_floor"], 3),
        "ratio_signed_to_signing": round(rate["signed"] / statistics.median(signing), 3),
        "signing_per_second": round(statistics.median(signing)),
        "cpu_per_1000": {name: round(median(runs, "cpu_per_1000"), 3) for name, runs in rounds.items()},
        "rss_mb": {name: round(max(run["rss_mb"] for run in runs)) for name, runs in rounds.items()},
        "db_bytes_per_recipient": {
            key: round(median(rounds["unsigned"], key)) for key in ("db_bytes_frozen", "db_bytes_sent")
        },
    }


def main() -> None:
    """Both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes that send; the floor is always one")
    options = parser.parse_args()
    with prepared(options.people, options.workers) as bench:
        rounds: dict[str, list[dict[str, float]]] = {}
        signing: list[float] = []
        for _ in range(options.rounds):
            for name in ("unsigned", "unsigned_floor", "signed", "signed_floor"):
                run = bench.floor if name.endswith("floor") else bench.ours
                figures = asyncio.run(run(signed=name.startswith("signed")))
                print(json.dumps({"run": name} | {key: round(value, 3) for key, value in figures.items()}), flush=True)
                rounds.setdefault(name, []).append(figures)
            signing.append(signing_rate(bench.pem))
        kills = []
        for _ in range(options.kills):
            kills.append(asyncio.run(bench.kill()))
            print(json.dumps({"run": "kill -9"} | kills[-1]), flush=True)
        result = summary(rounds, signing) if rounds else {}
        for signed in (False, True):
            name = "pages_signed" if signed else "pages_unsigned"
            result[name] = {k: round(v, 3) for k, v in asyncio.run(bench.watched(signed=signed)).items()}
        result |= {f"kill_{key}": [round(kill[key], 1) for kill in kills] for key in (kills[0] if kills else {})}
        print(json.dumps(result))


if __name__ == "__main__":
    main()
