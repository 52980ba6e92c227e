"""The ruleset between policy and packet filter: plain values that `render` prints and that a test can evaluate.

Shape of the filter: a forwarded (or node-bound) packet of a new connection walks

    self? accept → unknown pod address? drop → egress profile of the source → ingress profile of the
    destination → accept

A profile is the list of policies that select a pod in one direction; the packet passes when any rule of any of them
matches and is dropped otherwise. A pod without a profile in a direction is not isolated in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from .model import Address, BlockPeer, Network


@dataclass(frozen=True)
class PodSet:
    """Addresses of the pods that a selector finds. `title` names the selector for a human reader."""

    name: str
    title: str
    # The name alone is a good hash; thousands of addresses would make a slow one.
    addresses: tuple[Address, ...] = field(hash=False)

    @cached_property
    def families(self) -> frozenset[int]:
        """The IP versions that occur."""
        return frozenset(address.version for address in self.addresses)


@dataclass(frozen=True)
class NamedPortSet:
    """Where a named port is: (pod address, port number) of every pod that has it for `protocol`."""

    name: str
    title: str
    protocol: str
    places: tuple[tuple[Address, int], ...] = field(hash=False)

    @cached_property
    def families(self) -> frozenset[int]:
        """The IP versions that occur."""
        return frozenset(address.version for address, _ in self.places)


@dataclass(frozen=True)
class PortRange:
    protocol: str
    first: int
    last: int


@dataclass(frozen=True)
class RuleIR:
    """Allowed traffic: the other end is in `peer` (None: anyone), the destination port in any of `ranges` or `named`.

    Both are None when every port and protocol is allowed.
    """

    peer: PodSet | BlockPeer | None
    ranges: tuple[PortRange, ...] | None = None
    named: tuple[NamedPortSet, ...] | None = None


@dataclass(frozen=True)
class PolicyChain:
    """One direction of one policy."""

    name: str
    title: str
    rules: tuple[RuleIR, ...]


@dataclass(frozen=True)
class Profile:
    """The policies of a pod in one direction."""

    name: str
    policies: tuple[PolicyChain, ...]


@dataclass(frozen=True)
class Ruleset:
    """All of the table. `ingress` and `egress` say which profile an isolated pod address has."""

    pod_cidrs: tuple[Network, ...] = ()
    pods: tuple[Address, ...] = ()
    ingress: tuple[tuple[Address, Profile], ...] = ()
    egress: tuple[tuple[Address, Profile], ...] = ()
