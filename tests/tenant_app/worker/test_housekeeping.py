"""What the worker clears away, and what it leaves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.worker.housekeeping import Housekeeper
from elink_app.worker.loop import Worker

from tests.tenant_app.support import World, eventually

pytestmark = pytest.mark.postgres

FILL = """
INSERT INTO address (name, sort_key, search_text, search_grams, deleted_at)
    SELECT 'old', 'o', 'o', '{}', now() - interval '8 days' FROM generate_series(1, 1200);
INSERT INTO address (name, sort_key, search_text, search_grams, deleted_at)
    VALUES ('young', 'y', 'y', '{}', now() - interval '6 days'), ('alive', 'a', 'a', '{}', NULL);
INSERT INTO login_throttle VALUES ('a:old', 3, now() - interval '25 hours'), ('a:young', 3, now());
INSERT INTO used_setup_token VALUES ('old', now() - interval '91 days'), ('young', now() - interval '1 day');
UPDATE used_setup_token SET used_at = now() - interval '200 days' WHERE length(token_sha256) = 64;
INSERT INTO session (secret_sha256, account_id, expires_at, last_seen_at) SELECT v.s::bytea, a.id, v.e, v.l
    FROM account a, (VALUES ('over', now(), now()), ('idle', now() + interval '1 hour', now() - interval '3 hours'))
    AS v (s, e, l);
INSERT INTO outbox_mail (kind, recipient, subject, text_body, done_at)
    SELECT 'test', 'a@example.jp', 's', '', now() - d * interval '1 day' FROM (VALUES (31), (29)) AS v (d);
INSERT INTO account_link (account_id, purpose, token_sha256, expires_at)
    SELECT a.id, p, p::bytea, now() - d * interval '1 day'
    FROM account a, (VALUES ('invite', 31), ('reset', 29)) AS v (p, d);
INSERT INTO api_token (account_id, name, secret_sha256, permissions, expires_at)
    SELECT a.id, p, p::bytea, '{}', now() - d * interval '1 day'
    FROM account a, (VALUES ('x', 31), ('y', 29)) AS v (p, d);
INSERT INTO passkey_challenge (challenge, purpose, browser_sha256, expires_at)
    SELECT p::bytea, 'log_in', '', now() + m * interval '1 minute' FROM (VALUES ('over', -1), ('open', 1)) AS v (p, m);
INSERT INTO sent_form (account_id, form_sha256, led_to, sent_at)
    SELECT a.id, p::bytea, '/', now() - h * interval '1 hour' FROM account a, (VALUES ('x', 25), ('y', 23)) AS v (p, h);
INSERT INTO user_field (key, label, kind, deleted_at)
    SELECT p, p, 'text', now() - d * interval '1 day' FROM (VALUES ('x', 8), ('y', 6), ('z', NULL)) AS v (p, d);
"""


def keeper(world: World) -> Housekeeper:
    parts = world.parts
    return Housekeeper(parts.databases, parts.metrics, utc_now, parts.session_policy, timedelta(days=7))


async def test_clears_what_is_over_and_nothing_else(world: World) -> None:
    tenant = await world.tenant()
    me = await world.master(tenant)
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    async with world.server.inside(tenant.database) as inside:
        await inside.execute(FILL)
        gone = await keeper(world).clean(known)
        assert gone == {
            "sessions": 2, "throttle": 1, "setup_tokens": 1, "links": 1, "tokens": 1, "mails": 1, "addresses": 1200,
            "attribute_values": 0, "utilities": 0, "challenges": 1,
            "clicks": 0, "sent_forms": 1, "user_fields": 1,
        }  # fmt: skip
        left = {row[0] for row in await inside.fetch("SELECT name FROM address")}
        assert left == {"young", "alive"}
        # The mark of the registry's present link is never forgotten, however old: the link must stay used.
        marks = {row[0] for row in await inside.fetch("SELECT token_sha256 FROM used_setup_token")}
        assert marks == {"young", tenant.setup_token_sha256}
        assert await inside.fetchval("SELECT value FROM usage") == 1
    assert (await me.get("/")).status_code == 200
    assert set((await keeper(world).clean(known)).values()) == {0}


async def test_rounds_skip_tenants_that_are_not_active_and_survive_failures(world: World) -> None:
    active, suspended, broken = [await world.tenant() for _ in range(3)]
    for tenant in (active, suspended, broken):
        await world.master(tenant)
        async with world.server.inside(tenant.database) as inside:
            await inside.execute("INSERT INTO login_throttle VALUES ('a:old', 3, now() - interval '25 hours')")
            if tenant is broken:
                await inside.execute("DROP TABLE login_throttle")
    await world.change(suspended, state="Suspended")
    worker = Worker(world.server.settings, world.parts.directory, keeper(world), world.parts.metrics)
    stop = Stop()
    running = asyncio.create_task(worker.run(stop))
    rounds = world.parts.metrics.worker_rounds
    await eventually(lambda: rounds.labels("success")._value.get() >= 1 and rounds.labels("failure")._value.get() >= 1)
    await asyncio.sleep(0.3)
    stop.now()
    await asyncio.wait_for(running, 60)
    assert worker.is_alive()
    async with world.server.inside(suspended.database) as inside:
        assert await inside.fetchval("SELECT count(*) FROM login_throttle WHERE key = 'a:old'") == 1
    async with world.server.inside(active.database) as inside:
        assert await inside.fetchval("SELECT count(*) FROM login_throttle WHERE key = 'a:old'") == 0
    assert world.parts.metrics.worker_heartbeat._value.get() > 0
