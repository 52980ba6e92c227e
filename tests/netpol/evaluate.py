"""What a compiled ruleset decides, walked the way the kernel walks the rendered table."""

from __future__ import annotations

from ipaddress import ip_address

from hack.cluster.netpol.ir import PodSet, Profile, RuleIR, Ruleset
from hack.cluster.netpol.model import Address
from tests.netpol.reference import Packet


def passes(ruleset: Ruleset, packet: Packet) -> bool:
    source, destination = ip_address(packet.source), ip_address(packet.destination)
    egress, ingress = dict(ruleset.egress), dict(ruleset.ingress)
    if source == destination and (source in egress or source in ingress):
        return True
    for address in (source, destination):
        if any(address in cidr for cidr in ruleset.pod_cidrs) and address not in ruleset.pods:
            return False
    return _profile_passes(egress.get(source), destination, destination, packet) and _profile_passes(
        ingress.get(destination), source, destination, packet
    )


def _profile_passes(profile: Profile | None, other: Address, destination: Address, packet: Packet) -> bool:
    return profile is None or any(
        _matches(rule, other, destination, packet) for chain in profile.policies for rule in chain.rules
    )


def _matches(rule: RuleIR, other: Address, destination: Address, packet: Packet) -> bool:
    if isinstance(rule.peer, PodSet):
        if other not in rule.peer.addresses:
            return False
    elif rule.peer is not None and (
        other not in rule.peer.cidr or any(other in network for network in rule.peer.excepts)
    ):
        return False
    if rule.ranges is None:
        return True
    if any(r.protocol == packet.protocol and r.first <= packet.port <= r.last for r in rule.ranges):
        return True
    return any(
        named.protocol == packet.protocol and (destination, packet.port) in named.places for named in rule.named or ()
    )
