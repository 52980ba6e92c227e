"""kill -9 of the real process after each of its writes: a restore goes on where it was, forwards or back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from elink_operator import naming

from tests.operator.reconcile.harness import World, is_ready, until
from tests.operator.reconcile.restoring import (
    DONE,
    NEW,
    OLD,
    PATIENCE,
    Script,
    contents,
    left_over,
    phase,
    registry_state,
    served,
)
from tests.operator.reconcile.test_kill import killed_all_the_way, process, slow_writes


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("broken", [False, True], ids=["forwards", "back"])
async def test_killed_after_every_write_of_a_restore(world: World, tmp_path: Path, broken: bool) -> None:
    script = Script(world).install()
    async with process(world, tmp_path, "first"):
        server, tenant = await served(world)
    if broken:
        script.broken["switch"] = (1, "")
    slow_writes(world)
    # Of the tenant's name, so that its own writes count too.
    world.restore(tenant, tenant, "InPlace")
    kills = await killed_all_the_way(world, tmp_path, tenant, lambda: phase(world, tenant) in DONE)
    assert kills >= 5
    world.proxy.heal()
    async with process(world, tmp_path, "last"):
        await until(partial(at_rest, world, tenant), timeout=PATIENCE, what="served again")
    assert phase(world, tenant) == ("RolledBack" if broken else "Succeeded")
    assert await contents(world, server, tenant) == (OLD if broken else NEW)
    digest = naming.digest((world.er(tenant) or {})["metadata"]["uid"])
    kept = [] if broken else [f".kept-{tenant}", naming.kept_database(tenant, digest)]
    assert sorted(await left_over(world, server)) == kept
    assert script.backups == 1, "the backup before was made once"


async def at_rest(world: World, tenant: str) -> bool:
    return is_ready(world.et(tenant)) and await registry_state(world, tenant) == "Active"
