"""The tenants known to this process: an immutable picture that is exchanged whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from elink_app.registry.tenant import Tenant, normalise_host

ChangeListener = Callable[[Tenant | None, Tenant | None], None]


class TenantDirectory:
    """Looks tenants up by exact host or name. `loaded` is False until the registry was read once."""

    def __init__(self) -> None:
        self.loaded = False
        self._by_name: Mapping[str, Tenant] = MappingProxyType({})
        self._by_host: Mapping[str, Tenant] = MappingProxyType({})
        self._listeners: list[ChangeListener] = []

    def on_change(self, listener: ChangeListener) -> None:
        """Call `listener(old, new)` for every tenant that came (old None), changed, or went (new None)."""
        self._listeners.append(listener)

    def by_host_header(self, header: str) -> Tenant | None:
        """The tenant whose host is exactly the one in this Host header."""
        host = normalise_host(header)
        return self._by_host.get(host) if host is not None else None

    def get(self, name: str) -> Tenant | None:
        """The tenant of this name."""
        return self._by_name.get(name)

    def all(self) -> list[Tenant]:
        """Every tenant, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def replace_all(self, tenants: Iterable[Tenant]) -> None:
        """Take over a whole reading of the registry."""
        self._exchange({tenant.name: tenant for tenant in tenants})
        self.loaded = True

    def replace_one(self, name: str, tenant: Tenant | None) -> None:
        """Take over a fresh reading of one row; None when it is gone."""
        names = dict(self._by_name)
        names.pop(name, None)
        if tenant is not None:
            names[name] = tenant
        self._exchange(names)

    def _exchange(self, names: dict[str, Tenant]) -> None:
        before = self._by_name
        self._by_name = MappingProxyType(names)
        self._by_host = MappingProxyType({tenant.host: tenant for tenant in names.values()})
        for name in before.keys() | names.keys():
            old, new = before.get(name), names.get(name)
            if old != new:
                for listener in self._listeners:
                    listener(old, new)
