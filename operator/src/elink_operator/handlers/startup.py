"""How kopf is set up: as an event source and admission server that stores nothing in objects."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Iterable
from pathlib import Path
from typing import Any, Final

import kopf

from elink_operator.handlers.memo import OperatorMemo
from elink_operator.settings import Settings

_RETRIES: Final = 240
_LONGEST_PAUSE: Final = 15.0


class NullDiffBase(kopf.DiffBaseStorage):
    """Stores and compares nothing: kopf's own would deep-copy each body for every event."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """An empty essence."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing was ever stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing to store."""


class NullProgress(kopf.ProgressStorage):
    """No handler of ours has progress to keep: all of them only enqueue."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Nothing was ever stored."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing to store."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing to remove."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """No dummy writes."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """The essence as it is."""
        return essence


class Backoffs(Collection[float]):
    """Pauses with jitter, long enough to outlive an outage of the API server by an hour."""

    def __iter__(self) -> Any:
        for attempt in range(_RETRIES):
            yield min(_LONGEST_PAUSE, 2.0 ** min(attempt, 8)) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter

    def __len__(self) -> int:
        return _RETRIES

    def __contains__(self, value: object) -> bool:
        return False


@kopf.on.login()
async def login(*, memo: OperatorMemo, **_: Any) -> kopf.AiohttpSession:
    """A session of kopf's own that adds the token itself; kopf closes it when it logs in again."""
    session = memo.connection.session(limit=0, connect_timeout=memo.settings.api_connect_timeout_seconds)
    return kopf.AiohttpSession(server=memo.connection.server, aiohttp_session=session)


@kopf.on.startup()
async def configure(*, settings: kopf.OperatorSettings, memo: OperatorMemo, **_: Any) -> None:
    """Apply the settings that measurements and source reading recommend."""
    apply_settings(settings, memo.settings)


def apply_settings(kopf_settings: kopf.OperatorSettings, own: Settings) -> None:
    """kopf as event source: no writes, no events, no peering, no limits on its workers, bounded watches."""
    kopf_settings.process.ultimate_exiting_timeout = 25
    kopf_settings.posting.enabled = False
    kopf_settings.peering.standalone = True
    kopf_settings.scanning.disabled = True
    kopf_settings.queueing.worker_limit = None
    # A worker holds the last event of its object while it idles: at a start, all objects at once.
    kopf_settings.queueing.idle_timeout = 0.2
    kopf_settings.queueing.error_delays = (1, 2, 5, 10, 30)
    kopf_settings.watching.server_timeout = own.watch_timeout_seconds
    kopf_settings.watching.client_timeout = own.watch_timeout_seconds + 30
    kopf_settings.watching.connect_timeout = own.api_connect_timeout_seconds
    kopf_settings.watching.inactivity_timeout = 70
    kopf_settings.watching.reconnect_backoff = 1
    kopf_settings.watching.chunk_size = own.list_page_size
    kopf_settings.networking.request_timeout = own.api_timeout_seconds
    kopf_settings.networking.connect_timeout = own.api_connect_timeout_seconds
    kopf_settings.networking.error_backoffs = Backoffs()
    kopf_settings.networking.enforce_retry_after = True
    kopf_settings.persistence.diffbase_storage = NullDiffBase()
    kopf_settings.persistence.progress_storage = NullProgress()
    kopf_settings.admission.managed = None
    kopf_settings.admission.server = webhook_server(own) if own.webhook_enabled else no_webhooks


def webhook_server(own: Settings) -> kopf.WebhookServer:
    """The admission server with the certificate from `webhook_cert_dir`; renewals are noticed within a minute."""
    folder = Path(own.webhook_cert_dir)
    return kopf.WebhookServer(port=own.webhook_port, certfile=str(folder / "tls.crt"), pkeyfile=str(folder / "tls.key"))


async def no_webhooks(_: Any) -> AsyncIterator[Any]:
    """Takes the place of the admission server, which kopf demands because there are admission handlers."""
    yield {}
    await asyncio.Event().wait()
