"""`elink-operator run`: settings, connections and reconcilers, handed to one Process."""

import asyncio
import contextlib
import os
import secrets
import sys
from functools import partial
from typing import Final

import structlog
import uvloop
from pydantic import ValidationError

from elink_operator import __version__, logs, objectstore
from elink_operator.cluster.connection import Connection, connect
from elink_operator.cluster.prober import Prober
from elink_operator.controller import Reconcile
from elink_operator.database import Databases, Limits
from elink_operator.engine import Engine, utc_now
from elink_operator.process import Process
from elink_operator.reconcile import reconcile_restore, reconcile_server, reconcile_tenant
from elink_operator.reconcile.changes import prune_forever
from elink_operator.reconcile.context import Context
from elink_operator.relay import Relay
from elink_operator.settings import Settings
from elink_operator.workqueue import KeyKind

log = structlog.get_logger()

_CLOSE_SECONDS: Final = 2.0


def run() -> int:
    """Run until SIGTERM or SIGINT (0) or until something fails (1: the kubelet restarts us); 2: wrong settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"elink-operator: wrong settings (environment variables ELINK_*):\n{error}\n")
        return 2
    if settings.webhook_enabled and not settings.webhook_cert_dir:
        sys.stderr.write(
            "elink-operator: admission webhooks need a certificate: set ELINK_WEBHOOK_CERT_DIR to a folder with tls.crt"
            " and tls.key, or ELINK_WEBHOOK_ENABLED=false\n"
        )
        return 2
    try:
        connection = connect(settings.kubeconfig)
    except (OSError, ValueError, LookupError) as error:
        sys.stderr.write(
            f"elink-operator: no way to the API server ({error}): run it in a pod with a service account, or set"
            " ELINK_KUBECONFIG\n"
        )
        return 2
    logs.configure(settings.log_level)
    code = uvloop.run(serve(settings, connection))
    sys.stderr.flush()
    # A thread that hangs must not keep a process alive that has given up its Lease.
    os._exit(code)


async def serve(settings: Settings, connection: Connection) -> int:
    """Run the operator in this event loop; returns the exit code."""
    log.info("starting", version=__version__)
    engine = Engine.create(settings, connection)
    databases = Databases(Limits.of(settings))
    host, _, port = settings.probe_control.rpartition(":")
    url = f"http://{settings.probe_service}.{settings.probe_namespace}.svc:{settings.probe_port}"
    prober = Prober(url, (host, int(port)))
    objects = objectstore.connect(settings, utc_now)
    context = Context(
        settings=settings,
        client=engine.client,
        store=engine.store,
        applier=engine.applier,
        databases=databases,
        prober=prober,
        metrics=engine.metrics,
        world=engine.world,
        clock=utc_now,
        random_token=secrets.token_urlsafe,
        wake=engine.wake,
        relay=Relay.of(settings),
        objects=objects,
    )
    reconciles: dict[KeyKind, Reconcile] = {
        "tenant": partial(reconcile_tenant, ctx=context),
        "server": partial(reconcile_server, ctx=context),
        "restore": partial(reconcile_restore, ctx=context),
    }
    try:
        return await Process(engine, reconciles, [partial(prune_forever, context)]).run()
    finally:
        # A PostgreSQL that hangs must not keep the process alive.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                stores = () if objects is None else (objects.close(),)
                await asyncio.gather(prober.close(), databases.close(), engine.close(), *stores)
