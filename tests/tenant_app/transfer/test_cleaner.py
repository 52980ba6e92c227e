"""Files and images go when their time is over, and not before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from elink_app.clock import utc_now
from elink_app.jobs.runner import Batch, JobFailed
from elink_app.messages import Message
from elink_app.ops.servers import Stop
from elink_app.transfer.cleaner import TransferCleaner
from elink_app.transfer.exporter import ExportHandler

from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import make_bench, person, table

pytestmark = pytest.mark.postgres


async def test_what_is_old_goes(world: World) -> None:
    bench = await make_bench(world)
    await bench.imported(table(person("山田", "a@x.jp")))
    asked = {"format": "csv", "encoding": "utf-8", "unfit": "refuse", "rights": {"is_master": True}}
    number = await bench.start("export", **asked)
    await bench.work()
    name = (await bench.job(number))["result"]["file"]
    exports = world.server.settings.tenants_dir / bench.tenant.directory / "exports"
    for days, files, images, jobs in ((6, [name], 1, 2), (8, [], 0, 2), (91, [], 0, 0)):

        def later(days: int = days):
            return utc_now() + timedelta(days=days)

        cleaner = TransferCleaner(world.parts.databases, bench.store, later, timedelta(days=7))
        assert await cleaner.run(bench.tenant, Stop()) is False
        assert [path.name for path in exports.iterdir()] == files, days
        assert len(await bench.rows("SELECT 1 FROM bulk_change")) == images, days
        assert len(await bench.rows("SELECT 1 FROM job")) == jobs, days
    assert len(await bench.addresses()) == 1


async def test_an_export_that_stopped_at_its_workbook_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make_bench(world)
    await bench.imported(table(person("山田", "a@x.jp")))
    real = ExportHandler.step

    async def step(self: ExportHandler, batch: Batch) -> bool:
        if "raw" in batch.job.cursor:
            raise JobFailed(Message("x"))
        return await real(self, batch)

    monkeypatch.setattr(ExportHandler, "step", step)
    number = await bench.start("export", format="xlsx", encoding="utf-8", unfit="refuse", rights={"is_master": True})
    await bench.work()
    assert (await bench.job(number))["state"] == "failed"
    exports = world.server.settings.tenants_dir / bench.tenant.directory / "exports"
    assert len(list(exports.iterdir())) == 2
    cleaner = TransferCleaner(
        world.parts.databases, bench.store, lambda: utc_now() + timedelta(days=8), timedelta(days=7)
    )
    await cleaner.run(bench.tenant, Stop())
    assert list(exports.iterdir()) == []
