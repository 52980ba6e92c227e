"""The operator's real process, with a reconcile whose work can be seen: one ServiceAccount and one status per tenant.

The annotation `mark` of ServiceAccount `mark-<tenant>` is the tenant's displayName; the log has one line per start and
end of a run. `STUB_SECONDS` is how long a run takes.
"""

import asyncio
import os
from dataclasses import dataclass

import structlog
import uvloop
from elink_operator import labels, logs
from elink_operator.cluster.connection import connect
from elink_operator.cluster.kinds import SERVICE_ACCOUNT, TENANT
from elink_operator.engine import Engine
from elink_operator.process import Process
from elink_operator.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Outcome:
    """What the controller wants to know."""

    requeue_after: float | None = None


async def main() -> int:
    """Run until SIGTERM."""
    settings = Settings()
    logs.configure(settings.log_level)
    engine = Engine.create(settings, connect(settings.kubeconfig))
    seconds = float(os.environ.get("STUB_SECONDS", "0"))

    async def reconcile_tenant(name: str) -> Outcome:
        log.info("run begins", tenant=name, pid=os.getpid())
        tenant = engine.world.tenants.get(name)
        if tenant is None:
            await engine.client.delete(SERVICE_ACCOUNT, f"mark-{name}", namespace=settings.namespace)
            log.info("run ends", tenant=name, gone=True)
            return Outcome()
        await asyncio.sleep(seconds)
        mark = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "name": f"mark-{name}",
                "namespace": settings.namespace,
                "labels": labels.tenant_labels("none", name),
                "annotations": {"mark": tenant.spec.display_name},
            },
        }
        await engine.applier.apply_if_changed(SERVICE_ACCOUNT, mark)
        generation = tenant.metadata.generation
        if tenant.status.observed_generation != generation:
            await engine.client.patch_status(TENANT, name, {"observedGeneration": generation, "phase": "Active"})
        log.info("run ends", tenant=name, gone=False)
        return Outcome()

    async def reconcile_server(name: str) -> Outcome:
        return Outcome()

    try:
        return await Process(engine, {"tenant": reconcile_tenant, "server": reconcile_server}).run()
    finally:
        await engine.close()


if __name__ == "__main__":
    code = uvloop.run(main())
    os._exit(code)
