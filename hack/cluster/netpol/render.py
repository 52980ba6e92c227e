"""A ruleset as nftables text: one table, replaced as a whole in one transaction."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from .ir import NamedPortSet, PodSet, PolicyChain, PortRange, Profile, RuleIR, Ruleset
from .model import Address, BlockPeer, Network

TABLE = "elink_netpol"
FAMILIES = ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr"))
# nftables takes comments of up to 128 bytes.
COMMENT_BYTES = 120


def render(ruleset: Ruleset) -> str:
    """Give text for `nft -f -`; it deletes the former table in the same transaction, so there is never a gap."""
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    lines += _sets(ruleset)
    chains = {chain.name: (direction, chain) for direction, profile in _profiles(ruleset) for chain in profile.policies}
    for direction, chain in chains.values():
        lines += _policy_chain(direction, chain)
    for _, profile in _profiles(ruleset):
        lines += _chain(profile.name, [*(f"jump {chain.name}" for chain in profile.policies), "counter drop"])
    lines += _hooks(ruleset)
    return "\n".join([*lines, "}", ""])


def size(ruleset: Ruleset) -> tuple[int, int]:
    """Give (policy chains, set elements) of the rendered table, for the log."""
    pod_sets, named_sets = _used_sets(ruleset)
    elements = sum(len(s.addresses) for s in pod_sets) + sum(len(s.places) for s in named_sets)
    elements += len(ruleset.pods) + len(ruleset.ingress) + len(ruleset.egress)
    return len({chain.name for _, profile in _profiles(ruleset) for chain in profile.policies}), elements


def _profiles(ruleset: Ruleset) -> list[tuple[str, Profile]]:
    """Give each (direction, profile) once; chains must be defined before a rule jumps to them."""
    return list(
        {
            profile.name: (direction, profile)
            for direction, pairs in (("in", ruleset.ingress), ("out", ruleset.egress))
            for _, profile in pairs
        }.values()
    )


def _used_sets(ruleset: Ruleset) -> tuple[list[PodSet], list[NamedPortSet]]:
    rules = [r for _, profile in _profiles(ruleset) for chain in profile.policies for r in chain.rules]
    pod_sets = {r.peer.name: r.peer for r in rules if isinstance(r.peer, PodSet)}
    named_sets = {named.name: named for r in rules for named in r.named or ()}
    return [pod_sets[name] for name in sorted(pod_sets)], [named_sets[name] for name in sorted(named_sets)]


def _sets(ruleset: Ruleset) -> Iterator[str]:
    pod_sets, named_sets = _used_sets(ruleset)
    isolated = dict.fromkeys(address for address, _ in (*ruleset.ingress, *ruleset.egress))
    for version, _, kind in FAMILIES:
        yield from _set(f"known_{version}", kind, _of(version, ruleset.pods))
        yield from _set(f"self_{version}", f"{kind} . {kind}", [f"{a} . {a}" for a in _of(version, isolated)])
        for pod_set in pod_sets:
            elements = _of(version, pod_set.addresses)
            if elements:
                yield from _set(f"{pod_set.name}_{version}", kind, elements, pod_set.title)
        for named in named_sets:
            places = [f"{address} . {number}" for address, number in named.places if address.version == version]
            if places:
                yield from _set(f"{named.name}_{version}", f"{kind} . inet_service", places, named.title)


def _of(version: int, addresses: Iterable[Address]) -> list[str]:
    return [str(address) for address in addresses if address.version == version]


def _set(name: str, kind: str, elements: list[str], title: str = "") -> list[str]:
    lines = [f"\tset {name} {{", f"\t\ttype {kind}"]
    if title:
        lines.append(f"\t\tcomment {_quoted(title)}")
    if elements:
        lines.append(f"\t\telements = {{ {', '.join(elements)} }}")
    return [*lines, "\t}"]


def _chain(name: str, rules: Iterable[str], title: str = "") -> list[str]:
    head = [f"\t\tcomment {_quoted(title)}"] if title else []
    return [f"\tchain {name} {{", *head, *(f"\t\t{rule}" for rule in rules), "\t}"]


def _policy_chain(direction: str, chain: PolicyChain) -> list[str]:
    rules = [line for rule in chain.rules for line in _rule(direction, rule)]
    return _chain(chain.name, rules, chain.title)


def _rule(direction: str, rule: RuleIR) -> Iterator[str]:
    """One RuleIR is one line per address family and kind of port match."""
    side, verdict = ("saddr", "accept") if direction == "in" else ("daddr", "goto ingress")
    for version, field in _rule_families(rule):
        peer = _peer_match(rule.peer, version, field, side)
        if rule.ranges is None:
            yield f"{peer}{verdict}"
            continue
        for protocol in dict.fromkeys(r.protocol for r in rule.ranges):
            yield f"{peer}{_range_match([r for r in rule.ranges if r.protocol == protocol])} {verdict}"
        for named in rule.named or ():
            yield from _named_matches(named, version, peer, verdict)


def _rule_families(rule: RuleIR) -> list[tuple[int | None, str]]:
    if rule.peer is None:
        return [(None, "")]
    versions = {rule.peer.cidr.version} if isinstance(rule.peer, BlockPeer) else rule.peer.families
    return [(version, field) for version, field, _ in FAMILIES if version in versions]


def _peer_match(peer: PodSet | BlockPeer | None, version: int | None, field: str, side: str) -> str:
    if peer is None:
        return ""
    if isinstance(peer, PodSet):
        return f"{field} {side} @{peer.name}_{version} "
    match = f"{field} {side} {peer.cidr} "
    if peer.excepts:
        match += f"{field} {side} != {{ {', '.join(_collapsed(peer.excepts))} }} "
    return match


def _collapsed(networks: Iterable[Network]) -> list[str]:
    # Overlapping exceptions are legal in a policy but not in an nftables set.
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [str(n) for n in (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))]


def _range_match(ranges: list[PortRange]) -> str:
    protocol = ranges[0].protocol.lower()
    if any(r.first == 0 and r.last == 65535 for r in ranges):
        return f"meta l4proto {protocol}"
    ports = [str(r.first) if r.first == r.last else f"{r.first}-{r.last}" for r in ranges]
    return f"{protocol} dport {{ {', '.join(ports)} }}"


def _named_matches(named: NamedPortSet, version: int | None, peer: str, verdict: str) -> Iterator[str]:
    for family, field, _ in FAMILIES:
        if family in named.families and version in (None, family):
            yield f"{peer}{field} daddr . {named.protocol.lower()} dport @{named.name}_{family} {verdict}"


def _hooks(ruleset: Ruleset) -> list[str]:
    """The fixed part: where packets enter, and in which order the questions are asked."""
    known = [
        "ct state established,related accept",
        "ip saddr . ip daddr @self_4 accept",
        "ip6 saddr . ip6 daddr @self_6 accept",
    ]
    walk = [*_verdicts("saddr", ruleset.egress), "goto ingress"]
    node_only = [
        "iif lo accept",
        # Not tracked as a connection; without it an IPv6 pod cannot even find its gateway.
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept",
        # Every pod interface has such an address; it would reach the node past the rules of the pod's real one.
        "ip6 saddr fe80::/10 counter drop",
    ]
    hook = "type filter hook {} priority filter; policy accept;"
    return [
        *_chain("ingress", [*_verdicts("daddr", ruleset.ingress), "accept"]),
        *_chain("forward", [hook.format("forward"), *known, *_strangers(ruleset, "saddr", "daddr"), *walk]),
        # The node's end of a pod's link may have an address of the pod range, so only the source can be a stranger.
        *_chain("input", [hook.format("input"), *node_only, *known, *_strangers(ruleset, "saddr"), *walk]),
    ]


def _verdicts(side: str, pairs: Iterable[tuple[Address, Profile]]) -> Iterator[str]:
    for version, field, _ in FAMILIES:
        verdicts = [f"{address} : goto {profile.name}" for address, profile in pairs if address.version == version]
        if verdicts:
            yield f"{field} {side} vmap {{ {', '.join(verdicts)} }}"


def _strangers(ruleset: Ruleset, *sides: str) -> Iterator[str]:
    """A pod address that no known pod has: a pod so new that its policies are not loaded either."""
    for network in ruleset.pod_cidrs:
        field = "ip" if network.version == 4 else "ip6"
        for side in sides:
            yield f"{field} {side} {network} {field} {side} != @known_{network.version} counter drop"


def _quoted(text: str) -> str:
    clean = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in text)
    return f'"{clean[:COMMENT_BYTES]}"'
