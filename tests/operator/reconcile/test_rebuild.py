"""A server whose database was destroyed as a whole: it is made again, and its tenants come back from their backups."""

from __future__ import annotations

import pytest
from elink_operator.rebuild import rebuild

from tests.operator.reconcile.conftest import empty
from tests.operator.reconcile.harness import World, condition, is_ready, until
from tests.operator.reconcile.restoring import NEW, PATIENCE, Script, contents, registry_state

pytestmark = pytest.mark.timeout(900)
TENANTS = 3


async def test_every_tenant_of_a_destroyed_server_comes_back(world: World) -> None:
    script = Script(world).install()
    server = world.unique("shared")
    names = [world.unique("t") for _ in range(TENANTS)]
    async with world.operator() as op:
        world.server(server)
        for name in names:
            world.tenant(name)
        for name in names:
            await until(lambda name=name: is_ready(world.et(name)), timeout=PATIENCE, what=f"{name} is Ready")
        # Everything that was on the volume: databases of tenants, template, registry, roles.
        await empty(world.postgres)
        op.ctx.memory.looked.clear()
        op.ctx.wake("server", server)
        for name in names:
            await until(
                lambda name=name: condition(world.et(name), "DatabaseReady").get("reason") == "DatabaseLost",
                timeout=PATIENCE,
                what=f"the loss of {name} is seen",
            )
        script.broken["restore"] = (1, '{"result": "error", "reason": "WrongKey"}')
        said: list[str] = []
        client = op.engine.client
        assert await rebuild(client, server, 2, said.append, look=0.2) == 1
        assert sum("FAILED" in line for line in said[-1].splitlines()) == TENANTS
        assert "kubectl delete er rebuild-" in said[-1]
        script.broken.clear()
        for restore in world.items("/apis/elink-lc.com/v1/elinkrestores"):
            world.delete(f"/apis/elink-lc.com/v1/elinkrestores/{restore['metadata']['name']}")
        await until(lambda: not world.items("/apis/elink-lc.com/v1/elinkrestores"), timeout=PATIENCE)
        said.clear()
        assert await rebuild(client, server, 2, said.append, look=0.2) == 0
        assert not any("being restored 3" in line for line in said), "two at a time"
        assert said[-1].startswith("done in ")
        for name in names:
            await until(lambda name=name: is_ready(world.et(name)), timeout=PATIENCE, what=f"{name} is back")
            assert await contents(world, server, name) == NEW
            assert await registry_state(world, name) == "Active"
        # There is nothing to do any more, and another run says so.
        said.clear()
        assert await rebuild(client, server, 2, said.append, look=0.2) == 0
        assert said[0] == f"restored 0, being restored 0, waiting 0, failed 0, not lost {TENANTS}"
        with pytest.raises(LookupError, match="no tenant lives on server nowhere"):
            await rebuild(client, "nowhere", 2, said.append)
