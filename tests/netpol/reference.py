"""NetworkPolicy as the API reference says it, read straight from the API objects. Slow, obvious, and on its own.

It shares no code with the agent: that is what makes agreement between the two worth something.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Obj = dict[str, Any]


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, after service translation."""

    source: str
    destination: str
    protocol: str
    port: int


def allowed(packet: Packet, pods: list[Obj], namespaces: list[Obj], policies: list[Obj], pod_cidrs: list[str]) -> bool:
    """Whether the router may forward `packet`."""
    source, destination = _pod_at(packet.source, pods), _pod_at(packet.destination, pods)
    if source is not None and packet.source == packet.destination:
        return True
    for address, found in ((packet.source, source), (packet.destination, destination)):
        if found is None and any(_in_network(address, cidr) for cidr in pod_cidrs):
            return False
    labels = {obj["metadata"]["name"]: obj["metadata"]["labels"] for obj in namespaces}
    if source is not None:
        applying = [p for p in policies if _applies(p, source, "Egress")]
        if applying and not any(
            _rule_allows(rule, "to", p, packet, packet.destination, destination, destination, labels)
            for p in applying
            for rule in p["spec"].get("egress") or []
        ):
            return False
    if destination is not None:
        applying = [p for p in policies if _applies(p, destination, "Ingress")]
        if applying and not any(
            _rule_allows(rule, "from", p, packet, packet.source, source, destination, labels)
            for p in applying
            for rule in p["spec"].get("ingress") or []
        ):
            return False
    return True


def _pod_at(address: str, pods: list[Obj]) -> Obj | None:
    for pod in pods:
        if pod["spec"].get("hostNetwork") or pod["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        if any(ip_address(entry["ip"]) == ip_address(address) for entry in pod["status"].get("podIPs", [])):
            return pod
    return None


def _applies(policy: Obj, pod: Obj, direction: str) -> bool:
    if policy["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    if not _selects(policy["spec"]["podSelector"], pod["metadata"]["labels"]):
        return False
    if "policyTypes" in policy["spec"]:
        return direction in policy["spec"]["policyTypes"]
    return direction == "Ingress" or bool(policy["spec"].get("egress"))


def _selects(selector: Obj, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if key not in labels or labels[key] != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression["key"], expression["operator"]
        if operator == "In" and not (key in labels and labels[key] in expression["values"]):
            return False
        if operator == "NotIn" and key in labels and labels[key] in expression["values"]:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def _rule_allows(
    rule: Obj,
    direction: str,
    policy: Obj,
    packet: Packet,
    other_address: str,
    other: Obj | None,
    destination: Obj | None,
    labels: dict[str, dict[str, str]],
) -> bool:
    peers, ports = rule.get(direction) or [], rule.get("ports") or []
    peer_fits = not peers or any(_peer_fits(peer, policy, other_address, other, labels) for peer in peers)
    port_fits = not ports or any(_port_fits(port, packet, destination) for port in ports)
    return peer_fits and port_fits


def _peer_fits(peer: Obj, policy: Obj, address: str, pod: Obj | None, labels: dict[str, dict[str, str]]) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return _in_network(address, block["cidr"]) and not any(
            _in_network(address, item) for item in block.get("except", [])
        )
    if pod is None:
        return False
    home = pod["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        if home not in labels or not _selects(peer["namespaceSelector"], labels[home]):
            return False
    elif home != policy["metadata"]["namespace"]:
        return False
    return "podSelector" not in peer or _selects(peer["podSelector"], pod["metadata"]["labels"])


def _port_fits(port: Obj, packet: Packet, destination: Obj | None) -> bool:
    if port.get("protocol", "TCP") != packet.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return wanted <= packet.port <= int(port.get("endPort", wanted))
    return destination is not None and any(
        entry.get("name") == wanted
        and entry.get("protocol", "TCP") == packet.protocol
        and entry["containerPort"] == packet.port
        for container in destination["spec"]["containers"]
        for entry in container["ports"]
    )


def _in_network(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)
