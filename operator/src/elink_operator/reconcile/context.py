"""What a reconcile works with. Everything from outside comes in here; nothing is global."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from elink_operator import observe
from elink_operator.api.world import World
from elink_operator.cluster.apply import Applier
from elink_operator.cluster.client import Client
from elink_operator.cluster.kinds import Obj
from elink_operator.cluster.store import Store
from elink_operator.conditions import Condition
from elink_operator.database import Databases
from elink_operator.desired.erasure import Link
from elink_operator.desired.inputs import Access, MailLogin
from elink_operator.metrics import Metrics
from elink_operator.objectstore import ObjectStore
from elink_operator.relay import Relay
from elink_operator.settings import Settings

KeyKind = Literal["tenant", "server", "restore"]


class Prober(Protocol):
    """Asks a pod outside all servers to connect somewhere."""

    async def reachable(self, host: str, port: int) -> bool | None:
        """True: it connected. False: it could not although it works. None: nobody knows."""


@dataclass(frozen=True)
class Outcome:
    """How a reconcile ended without error. `requeue_after` (seconds) asks for another look; None waits for news."""

    requeue_after: float | None = None


@dataclass
class Memory:
    """What one process remembers between reconciles; all of it can be rebuilt from the world."""

    access: dict[str, tuple[str, Access]] = field(default_factory=dict)
    """server -> (version of the Secrets it was read from, access)."""
    reading: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """server -> held while its Secrets are read, so that a start with a thousand tenants reads them once."""
    external: dict[str, tuple[datetime, dict[str, str]]] = field(default_factory=dict)
    """server -> when the Secret of its External database was read, and its values."""
    mail_login: tuple[datetime, MailLogin] | None = None
    """When the Secret with the log-in of the mail relay was read, and its values."""
    reserved: dict[str, str] = field(default_factory=dict)
    """tenant -> server: placements that the tenant's status does not show yet."""
    isolation: dict[str, tuple[datetime, Condition]] = field(default_factory=dict)
    """server -> when the probe was last asked, and what it said."""
    resized: dict[tuple[str, str], str] = field(default_factory=dict)
    """(namespace, workload) -> resourceVersion at which all its pods had the wanted resources."""
    creating: Counter[str] = field(default_factory=Counter)
    """server -> tenant databases being made right now; a migration waits for them."""
    chain: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the record of an erasure is written."""
    chain_head: Link | None = None
    """The newest record that this process wrote."""
    forgetting: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """server -> held while it is decided whether a Job takes erased tenants out of the server's own backups."""
    restores_begun: set[str] = field(default_factory=set)
    """uids of restores that this process lets run and whose status does not show it yet."""
    drills: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is decided whether one more drill begins."""
    backup_failures: dict[str, tuple[str, observe.BackupReport]] = field(default_factory=dict)
    """tenant, or `server/NAME` -> (uid of the last backup Job that failed, what it said): its report is read once."""
    recorded: dict[str, Obj] = field(default_factory=dict)
    """uid of a tenant or server -> what was recorded of it and its status does not show yet."""
    told: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(uid of a tenant, letter) -> contacts that have it, while others wait for the relay."""
    relay_rests_until: datetime | None = None
    """No mail is tried before, because the last one failed."""
    unread_told: dict[str, int] = field(default_factory=dict)
    """uid of an object that does not parse -> the generation of which people were told."""
    looked: dict[str, datetime] = field(default_factory=dict)
    """server -> when its databases were last compared with what should be there."""


@dataclass(frozen=True)
class Context:
    """Dependencies of the reconcilers.

    `clock` gives the aware present; `random_token(n)` gives a URL-safe text of n random bytes; `wake` asks for a
    reconcile of another object soon.
    """

    settings: Settings
    client: Client
    store: Store
    applier: Applier
    databases: Databases
    prober: Prober
    metrics: Metrics
    world: World
    clock: Callable[[], datetime]
    random_token: Callable[[int], str]
    wake: Callable[[KeyKind, str], None]
    relay: Relay
    objects: ObjectStore | None = None
    """The store of backups, unless they lie on volumes."""
    memory: Memory = field(default_factory=Memory)
