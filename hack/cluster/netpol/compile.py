"""Policies, pods and namespaces to a ruleset. Pure: the same world gives the same ruleset, names included."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property

from .ir import NamedPortSet, PodSet, PolicyChain, PortRange, Profile, RuleIR, Ruleset
from .model import Address, BlockPeer, Namespace, Peer, Pod, PodPeer, Policy, Port, Rule, Selector, World


def compile_world(world: World) -> Ruleset:
    """Give the ruleset that enforces every policy of `world` on the pods of its node."""
    return _Compiler(world).ruleset()


class _Compiler:
    """Caches what many policies share: pods by namespace, selector results, named ports."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_address = _owners(world)
        self.pods: dict[str, list[tuple[Pod, list[Address]]]] = {}
        addresses: dict[tuple[str, str], list[Address]] = {}
        for address, pod in self.by_address.items():
            key = (pod.namespace, pod.name)
            if key not in addresses:
                addresses[key] = []
                self.pods.setdefault(pod.namespace, []).append((pod, addresses[key]))
            addresses[key].append(address)
        self.pod_sets: dict[tuple[str, Selector, Selector | None], PodSet] = {}
        self.named_sets: dict[tuple[str, str], NamedPortSet] = {}

    def ruleset(self) -> Ruleset:
        return Ruleset(
            pod_cidrs=tuple(sorted(self.world.pod_cidrs, key=str)),
            pods=tuple(self.by_address),
            ingress=self._direction("in"),
            egress=self._direction("out"),
        )

    def _direction(self, direction: str) -> tuple[tuple[Address, Profile], ...]:
        chains: dict[Address, list[PolicyChain]] = {}
        for policy in sorted(self.world.policies, key=lambda p: (p.namespace, p.name)):
            rules = policy.ingress if direction == "in" else policy.egress
            if rules is None:
                continue
            chain: PolicyChain | None = None
            for pod, addresses in self.pods.get(policy.namespace, ()):
                if self.world.node and pod.node != self.world.node:
                    continue
                if policy.selector.matches(pod.labels):
                    chain = chain or self._chain(policy, direction, rules)
                    for address in addresses:
                        chains.setdefault(address, []).append(chain)
        profiles: dict[tuple[str, ...], Profile] = {}
        result = []
        for address in sorted(chains, key=_address_order):
            key = tuple(chain.name for chain in chains[address])
            if key not in profiles:
                profiles[key] = Profile(_name(direction, *key), tuple(chains[address]))
            result.append((address, profiles[key]))
        return tuple(result)

    def _chain(self, policy: Policy, direction: str, rules: tuple[Rule, ...]) -> PolicyChain:
        name = _name(f"policy_{direction}", policy.namespace, policy.name)
        compiled = [ir for rule in rules for ir in self._rule(policy.namespace, rule)]
        return PolicyChain(name, f"{policy.namespace}/{policy.name}", tuple(dict.fromkeys(compiled)))

    def _rule(self, namespace: str, rule: Rule) -> Iterable[RuleIR]:
        ranges, named = None, None
        if rule.ports is not None:
            ranges = _merged(port for port in rule.ports if port.name is None)
            keys = dict.fromkeys((port.protocol, port.name) for port in rule.ports if port.name is not None)
            named = tuple(found for key in keys if (found := self._named_set(*key)).places)
            if not ranges and not named:
                return
        for peer in (None,) if rule.peers is None else rule.peers:
            target = self._peer(namespace, peer)
            if not isinstance(target, PodSet) or target.addresses:
                yield RuleIR(target, ranges, named)

    def _peer(self, namespace: str, peer: Peer | None) -> PodSet | BlockPeer | None:
        if not isinstance(peer, PodPeer):
            return peer
        home = namespace if peer.namespaces is None else ""
        key = (home, peer.pods, peer.namespaces)
        if key not in self.pod_sets:
            title = _title(home, peer)
            self.pod_sets[key] = PodSet(_name("pods", title), title, self._select(home, peer))
        return self.pod_sets[key]

    def _select(self, home: str, peer: PodPeer) -> tuple[Address, ...]:
        # A namespace that is not known (yet) has no labels, so no selector but the own-namespace one finds its pods.
        names = (
            [home]
            if peer.namespaces is None
            else [name for name, space in self._namespaces.items() if peer.namespaces.matches(space.labels)]
        )
        found = [
            address
            for name in names
            for pod, addresses in self.pods.get(name, ())
            if peer.pods.matches(pod.labels)
            for address in addresses
        ]
        return tuple(sorted(found, key=_address_order))

    @cached_property
    def _namespaces(self) -> dict[str, Namespace]:
        return {namespace.name: namespace for namespace in self.world.namespaces}

    def _named_set(self, protocol: str, name: str) -> NamedPortSet:
        # The destination of the packet decides what a name means, in either direction, so one set serves all policies.
        if (protocol, name) not in self.named_sets:
            places = self._named_places.get((protocol, name), ())
            self.named_sets[protocol, name] = NamedPortSet(
                _name("port", protocol, name), f"{protocol} {name}", protocol, tuple(dict.fromkeys(places))
            )
        return self.named_sets[protocol, name]

    @cached_property
    def _named_places(self) -> dict[tuple[str, str], list[tuple[Address, int]]]:
        places: dict[tuple[str, str], list[tuple[Address, int]]] = {}
        for address, pod in self.by_address.items():
            for name, protocol, number in pod.ports:
                places.setdefault((protocol, name), []).append((address, number))
        return places


def _owners(world: World) -> dict[Address, Pod]:
    """Which pod has an address. When two claim one (reused while the old object lingers), the likelier owner wins."""
    owners: dict[Address, Pod] = {}
    for pod in world.pods:
        if pod.host_network or pod.finished:
            continue
        for address in pod.addresses:
            rival = owners.get(address)
            if rival is None or _claim(world, pod) > _claim(world, rival):
                owners[address] = pod
    return {address: owners[address] for address in sorted(owners, key=_address_order)}


def _claim(world: World, pod: Pod) -> tuple[bool, bool, bool, str, str]:
    return (not world.node or pod.node == world.node, pod.announced, not pod.deleting, pod.created, pod.uid)


def _merged(ports: Iterable[Port]) -> tuple[PortRange, ...]:
    """Sorted, disjoint ranges: the kernel refuses overlaps in a set."""
    merged: list[PortRange] = []
    for port in sorted(ports, key=lambda p: (p.protocol, p.first, p.last)):
        previous = merged[-1] if merged else None
        if previous and previous.protocol == port.protocol and port.first <= previous.last + 1:
            merged[-1] = PortRange(port.protocol, previous.first, max(previous.last, port.last))
        else:
            merged.append(PortRange(port.protocol, port.first, port.last))
    return tuple(merged)


def _address_order(address: Address) -> tuple[int, int]:
    return (address.version, int(address))


def _name(prefix: str, *parts: str) -> str:
    # Namespace and name together are longer than an nftables name may be.
    return f"{prefix}_{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:12]}"


def _title(home: str, peer: PodPeer) -> str:
    where = f"namespace {home}" if peer.namespaces is None else f"namespaces {_selector_title(peer.namespaces)}"
    return f"pods {_selector_title(peer.pods)} in {where}"


def _selector_title(selector: Selector) -> str:
    parts = [f"{key}={value}" for key, value in selector.labels]
    parts += [" ".join((r.key, r.operator, *r.values)) for r in selector.expressions]
    return ", ".join(parts) if parts else "all"
