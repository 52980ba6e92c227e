"""What admission needs to know about other objects. Pure: indexes in memory, no input or output."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from elink_operator import labels, naming
from elink_operator.api.restore import ElinkRestore
from elink_operator.api.server import ElinkServer, ServerSpec, Tenancy
from elink_operator.api.tenant import ElinkTenant, TenantSpec
from elink_operator.api.unread import Unread


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Index:
    """key -> names of the objects that hold it."""

    def __init__(self) -> None:
        self._names: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, key: str, name: str) -> None:
        self._names[key].add(name)

    def discard(self, key: str, name: str) -> None:
        names = self._names.get(key)
        if names is not None:
            names.discard(name)
            if not names:
                del self._names[key]

    def others(self, key: str, name: str) -> list[str]:
        return sorted(self._names.get(key, set()) - {name})


class World:
    """All tenants and servers, with the indexes that make one check independent of their number.

    Feed it with `put_*` and `remove_*` as objects come and go; it holds the newest state that was seen,
    which may lag behind the API server: the reconciler repeats the checks.
    """

    def __init__(
        self,
        *,
        base_domain: str,
        regions: frozenset[str],
        default_region: str,
        tenants: Iterable[ElinkTenant] = (),
        servers: Iterable[ElinkServer] = (),
        restores: Iterable[ElinkRestore] = (),
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.base_domain = base_domain.lower().rstrip(".")
        self.regions = regions
        self.default_region = default_region
        self.clock = clock
        self._tenants: dict[str, ElinkTenant] = {}
        self._servers: dict[str, ElinkServer] = {}
        self._restores: dict[str, ElinkRestore] = {}
        self._unread: dict[tuple[str, str], Unread] = {}
        self._hosts = _Index()
        self._tenant_ids = _Index()
        self._server_ids = _Index()
        self._residents = _Index()
        self._concerned = _Index()
        self._movers = _Index()
        for tenant in tenants:
            self.put_tenant(tenant)
        for server in servers:
            self.put_server(server)
        for restore in restores:
            self.put_restore(restore)

    @property
    def tenants(self) -> Mapping[str, ElinkTenant]:
        """Every tenant by name."""
        return self._tenants

    @property
    def servers(self) -> Mapping[str, ElinkServer]:
        """Every server by name."""
        return self._servers

    @property
    def restores(self) -> Mapping[str, ElinkRestore]:
        """Every restore by name."""
        return self._restores

    @property
    def unread(self) -> Mapping[tuple[str, str], Unread]:
        """Every object that does not parse, by kind and name. They are few: nothing is indexed."""
        return self._unread

    def put_unread(self, unread: Unread) -> None:
        """Know of an object only what it takes, and that nobody can read it."""
        self._unread[unread.kind, unread.name] = unread
        if unread.is_tenant:
            self._tenant_ids.add(naming.short_id(unread.name), unread.name)
        elif unread.is_server:
            self._server_ids.add(naming.short_id(unread.name), unread.name)

    def remove_unread(self, kind: str, name: str) -> None:
        """Forget it; nothing happens when it is unknown."""
        known = self._unread.pop((kind, name), None)
        if known is not None and known.is_tenant:
            self._tenant_ids.discard(naming.short_id(name), name)
        elif known is not None and known.is_server:
            self._server_ids.discard(naming.short_id(name), name)

    def unread_residents(self, server: str, besides: str = "") -> list[Unread]:
        """Tenants that nobody can read and that live on a server or want to."""
        return [u for u in self._unread.values() if u.is_tenant and u.server == server and u.name != besides]

    def unread_with_host(self, fqdn: str, besides: str) -> list[Unread]:
        """Tenants that nobody can read and that claim a host."""
        mine = (u for u in self._unread.values() if u.is_tenant and u.name != besides)
        return [u for u in mine if self._host(u.name, u.host or None) == fqdn]

    def put_tenant(self, tenant: ElinkTenant) -> None:
        """Add a tenant or replace what is known of it."""
        self.remove_tenant(tenant.name)
        self._tenants[tenant.name] = tenant
        self._hosts.add(self.fqdn(tenant), tenant.name)
        self._tenant_ids.add(naming.short_id(tenant.name), tenant.name)
        for server in _homes(tenant):
            self._residents.add(server, tenant.name)

    def remove_tenant(self, name: str) -> None:
        """Forget a tenant; nothing happens when it is unknown."""
        known = self._tenants.pop(name, None)
        if known is None:
            return
        self._hosts.discard(self.fqdn(known), name)
        self._tenant_ids.discard(naming.short_id(name), name)
        for server in _homes(known):
            self._residents.discard(server, name)

    def put_server(self, server: ElinkServer) -> None:
        """Add a server or replace what is known of it."""
        self.remove_server(server.name)
        self._servers[server.name] = server
        self._server_ids.add(naming.short_id(server.name), server.name)

    def remove_server(self, name: str) -> None:
        """Forget a server; nothing happens when it is unknown."""
        if self._servers.pop(name, None) is not None:
            self._server_ids.discard(naming.short_id(name), name)

    def put_restore(self, restore: ElinkRestore) -> None:
        """Add a restore or replace what is known of it."""
        self.remove_restore(restore.name)
        self._restores[restore.name] = restore
        for tenant in {restore.spec.tenant, restore.target}:
            self._concerned.add(tenant, restore.name)
        for server in _ends(restore):
            self._movers.add(server, restore.spec.tenant)

    def remove_restore(self, name: str) -> None:
        """Forget a restore; nothing happens when it is unknown."""
        known = self._restores.pop(name, None)
        if known is not None:
            for tenant in {known.spec.tenant, known.target}:
                self._concerned.discard(tenant, name)
            for server in _ends(known):
                self._movers.discard(server, known.spec.tenant)

    def restores_of(self, tenant: str, besides: str = "") -> list[ElinkRestore]:
        """Restores of a tenant's data or into its place, in the order of their names."""
        return [self._restores[name] for name in self._concerned.others(tenant, besides)]

    def restoring(self, tenant: str) -> ElinkRestore | None:
        """The restore that keeps a tenant out of service while its data is replaced, or None."""
        held = (r for r in self.restores_of(tenant) if r.target == tenant and r.holds_target)
        return next(held, None)

    def moving(self, tenant: str) -> ElinkRestore | None:
        """The move of a tenant that is not over: its data may be on two servers. None when there is none."""
        return next((r for r in self.restores_of(tenant) if r.moves), None)

    def fqdn(self, tenant: ElinkTenant) -> str:
        """The tenant's full host name in lower case."""
        return self._host(tenant.name, tenant.spec.host)

    def _host(self, tenant: str, host: str | None) -> str:
        return naming.tenant_host(tenant, host, self.base_domain).lower().rstrip(".")

    def region(self, spec: TenantSpec | ServerSpec) -> str:
        """The region that a spec means."""
        return spec.region or self.default_region

    def tenants_with_host(self, fqdn: str, besides: str) -> list[ElinkTenant]:
        """The other tenants that claim a host, in the order of their names."""
        return [self._tenants[name] for name in self._hosts.others(fqdn, besides)]

    def tenants_with_id(self, short_id: str, besides: str) -> list[str]:
        """Names of other tenants with the same ID."""
        return self._tenant_ids.others(short_id, besides)

    def servers_with_id(self, short_id: str, besides: str) -> list[str]:
        """Names of other servers with the same ID."""
        return self._server_ids.others(short_id, besides)

    def residents(self, server: str, besides: str = "") -> list[ElinkTenant]:
        """Tenants that live on a server, are pinned to it or move from or to it, in the order of their names."""
        names = {*self._residents.others(server, besides), *self._movers.others(server, besides)}
        return [self._tenants[name] for name in sorted(names) if name in self._tenants]


def _ends(restore: ElinkRestore) -> set[str]:
    """The servers that a move concerns while it is not over.

    Not the one that was lost: it may never answer again, and must not be kept for what nobody can remove from it.
    """
    if restore.spec.move is None or not restore.moves:
        return set()
    lost = restore.finished and restore.from_backup
    return {restore.spec.move.server, "" if lost else restore.status.source_server} - {""}


def _homes(tenant: ElinkTenant) -> set[str]:
    """Where a tenant lives, or is being made; before it is placed: where it wants to."""
    wanted = tenant.name if tenant.spec.plan.value == Tenancy.DEDICATED.value else tenant.spec.server
    home = tenant.status.server or tenant.metadata.annotations.get(labels.PLACED_ON) or wanted
    return {home} if home else set()
