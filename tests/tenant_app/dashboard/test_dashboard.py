"""Deliveries on the first page: for who may see deliveries, with words for the share of failures."""

from __future__ import annotations

import pytest
from elink_app.dashboard.service import Health

from tests.tenant_app.people.support import member, run
from tests.tenant_app.support import World


@pytest.mark.parametrize(
    ("accepted", "failed", "percent", "verdict"),
    [
        (0, 0, None, "none"),
        (100, 0, 0.0, "good"),
        (98, 2, 2.0, "good"),
        (97, 3, 3.0, "doubtful"),
        (90, 10, 10.0, "bad"),
        (0, 3, 100.0, "bad"),
    ],
)
def test_words_for_the_share(accepted: int, failed: int, percent: float | None, verdict: str) -> None:
    health = Health(accepted, failed)
    assert (health.percent, health.verdict) == (percent, verdict)


@pytest.mark.postgres
async def test_deliveries_under_way_are_for_who_may_see_them(world: World) -> None:
    tenant = await world.tenant(limits={"addresses": 1000, "mailsPerHour": 12345})
    master = await world.master(tenant)
    assert "進行中の配信はありません。" in (await master.get("/")).text
    await run(
        world, tenant,
        "INSERT INTO delivery (name, state, total, accepted, refused, bounced, started_at) VALUES "
        "('<b>春の案内</b>', 'sending', 100, 40, 3, 2, now()), ('終わったもの', 'done', 5, 5, 0, 0, now()), "
        "('昔のもの', 'done', 900, 0, 900, 0, now() - interval '31 days')",
    )  # fmt: skip
    page = (await master.get("/")).text
    assert "&lt;b&gt;春の案内&lt;/b&gt;" in page
    assert "終わったもの" not in page
    assert '<progress max="100" value="45"' in page
    assert "10.0 % のメールが拒否または不達になりました（50 件中 5 件）" in page
    assert "12,345 通" in page
    user, _, _ = await member(world, tenant, master, "addresses:view")
    hidden = (await user.get("/")).text
    assert "春の案内" not in hidden
    assert "健全性" not in hidden
