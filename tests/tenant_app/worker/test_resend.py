"""What a killed worker left unknown (結果不明): another worker sends it again when a person asks, and only then."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.tenant_app.deliveries.support import SENDER, Office
from tests.tenant_app.support import World, eventually
from tests.tenant_app.worker.deliveries import CountingRelay, relaying, states
from tests.tenant_app.worker.test_kills import CONNECTIONS, environment, finished, worker

pytestmark = pytest.mark.postgres

PEOPLE = 15


async def test_unknown_ones_are_sent_again_and_nobody_else(world: World, tmp_path: Path) -> None:
    tenant = await world.tenant()
    office = Office(world, tenant, await world.master(tenant), 0)
    for number in range(PEOPLE):
        await office.call("POST", "/addresses", 201, json={"name": "客", "emails": [f"to{number}@there.example"]})
    await office.call("POST", "/settings/sender-addresses", 201, json={"email": SENDER, "name": "さくら"})
    await office.rules(hold_minutes=0)
    office.segment = await office.new_segment("皆", {"kind": "all", "of": []})
    delivery = (await office.ready())["id"]
    path = f"/deliveries/{delivery}"
    await office.call("POST", f"{path}/release", json={"when": "now"})

    async with relaying(CountingRelay()) as relay:
        variables = environment(world.server.settings, tmp_path, relay.port)
        relay.answering.clear()
        async with worker(variables) as process:
            # The relay has a mail and the worker does not know.
            await eventually(lambda: relay.accepted.total() > 0, 300)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        relay.answering.set()
        async with worker(variables):
            await finished(world.server, tenant, delivery)
            unknown = {row["email"] for row in await office.sql(
                "SELECT email FROM delivery_recipient WHERE state = 'unknown'"
            )}  # fmt: skip
            assert 1 <= len(unknown) <= CONNECTIONS
            assert set(relay.accepted.values()) == {1}
            before = relay.accepted.copy()

            again = f"{path}/resend-unknown"
            await office.call("POST", again, 422, json={"typed_count": len(unknown) + 1})
            assert relay.accepted == before
            await office.call("POST", again, json={"typed_count": len(unknown)})
            await finished(world.server, tenant, delivery)

    assert relay.accepted - before == dict.fromkeys(unknown, 1), "one more for each of them, none for anybody else"
    assert len(relay.accepted) == PEOPLE
    async with world.server.inside(tenant.database) as inside:
        assert await states(inside, delivery) == {"accepted": PEOPLE}
    told = await office.call("GET", path)
    assert (told["state"], told["counts"]["accepted"], told["counts"]["unknown"]) == ("done", PEOPLE, 0)
    assert "resent_unknown" in [step["action"] for step in await office.call("GET", f"{path}/history")]
    await office.call("POST", again, 409, json={"typed_count": len(unknown)})
