"""Which server a Shared tenant goes to, and why. Pure and deterministic: the same view gives the same answer."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A server as placement sees it. `tenants` counts the placed ones, those still being created included."""

    name: str
    shared: bool
    region: str
    cordoned: bool
    deleting: bool
    ready: bool
    tenants: int
    max_tenants: int

    @property
    def fill(self) -> float:
        """The used share of the server, 0.0 to 1.0."""
        return self.tenants / self.max_tenants if self.max_tenants > 0 else 1.0


@dataclass(frozen=True)
class Wish:
    """What a tenant asks for. `pin` names a server, empty for any."""

    region: str
    pin: str = ""


@dataclass(frozen=True)
class Placed:
    """The choice; `reason` is a sentence that is kept in the tenant's status."""

    server: str
    reason: str


@dataclass(frozen=True)
class Unplaced:
    """No server fits; `reason` is a CamelCase word, `message` says what would help."""

    reason: str
    message: str


def choose(wish: Wish, servers: Iterable[Candidate]) -> Placed | Unplaced:
    """The server for a Shared tenant: the pinned one, or the least filled open one in the region.

    A Ready server goes before one that is still being built; ties are broken by fewer tenants, then by name.
    """
    candidates = sorted(servers, key=lambda c: c.name)
    if wish.pin:
        return _pinned(wish, candidates)
    refusals = {c.name: _refusal(wish, c) for c in candidates}
    open_ones = [c for c in candidates if not refusals[c.name]]
    if not open_ones:
        return _nothing_fits(wish, candidates, refusals)
    best = min(open_ones, key=lambda c: (not c.ready, c.fill, c.tenants, c.name))
    others = len(open_ones) - 1
    why = f"least filled of {others + 1} open servers" if others else "the only open server"
    return Placed(best.name, f"{why} in region {wish.region}: {best.tenants} of {best.max_tenants} places taken")


def _refusal(wish: Wish, server: Candidate) -> str:
    """Why this server cannot take the tenant; empty when it can."""
    if not server.shared:
        return "is a dedicated server"
    if server.deleting:
        return "is being deleted"
    if server.region != wish.region:
        return f"is in region {server.region}"
    if server.cordoned:
        return "is cordoned"
    if server.tenants >= server.max_tenants:
        return "is full"
    return ""


def _pinned(wish: Wish, candidates: list[Candidate]) -> Placed | Unplaced:
    server = next((c for c in candidates if c.name == wish.pin), None)
    if server is None:
        return Unplaced(
            "PinnedServerMissing",
            f"spec.server names {wish.pin}, which does not exist; create that ElinkServer or clear spec.server",
        )
    refusal = _refusal(wish, server)
    if refusal:
        return Unplaced(
            "PinnedServerUnfit",
            f"spec.server names {wish.pin}, which {refusal}; change the server or clear spec.server",
        )
    return Placed(server.name, "pinned by spec.server")


def _nothing_fits(wish: Wish, candidates: list[Candidate], refusals: dict[str, str]) -> Unplaced:
    shared = [f"{c.name} {refusals[c.name]}" for c in candidates if c.shared]
    if not shared:
        return Unplaced(
            "NoSharedServer",
            f"there is no Shared ElinkServer; create one in region {wish.region}: this tenant is then placed at once",
        )
    return Unplaced(
        "NoServerWithRoom",
        f"no Shared server in region {wish.region} takes a tenant ({', '.join(shared[:10])}); "
        "add a server, uncordon one or raise its maxTenants: this tenant is then placed at once",
    )
