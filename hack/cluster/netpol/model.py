"""Kubernetes objects as this agent sees them: only what a NetworkPolicy decision depends on.

Every `parse_*` takes the JSON object of the API (v1 Pod, v1 Namespace, networking.k8s.io/v1 NetworkPolicy) and
returns a frozen value; two values are equal exactly when no decision can differ between them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Obj = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROTOCOLS = ("TCP", "UDP", "SCTP")
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class ModelError(ValueError):
    """An object has a shape that the API server should have refused."""


@dataclass(frozen=True)
class Requirement:
    """One entry of `matchExpressions`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As in the API: `NotIn` also holds for an object without the key."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        return value is None or value not in self.values


@dataclass(frozen=True)
class Selector:
    """A label selector; the empty one selects everything."""

    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels) and all(
            requirement.matches(labels) for requirement in self.expressions
        )


@dataclass(frozen=True)
class Pod:
    """A pod; `ports` are its named container ports as (name, protocol, number).

    `announced`: the CNI has just given it `addresses`, the API does not say so yet.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()
    node: str = ""
    created: str = ""
    host_network: bool = False
    finished: bool = False
    deleting: bool = False
    announced: bool = False


@dataclass(frozen=True)
class Namespace:
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class PodPeer:
    """Pods by selector. `namespaces` None: only those of the policy's own namespace; `pods` empty: all of them."""

    pods: Selector
    namespaces: Selector | None


@dataclass(frozen=True)
class BlockPeer:
    """Addresses in `cidr` and in none of `excepts`."""

    cidr: Network
    excepts: tuple[Network, ...] = ()


Peer = PodPeer | BlockPeer


@dataclass(frozen=True)
class Port:
    """`first`-`last` inclusive, or a port `name` of the destination pod; neither: every port of the protocol."""

    protocol: str
    first: int = 0
    last: int = 65535
    name: str | None = None


@dataclass(frozen=True)
class Rule:
    """Traffic with any of `peers` on any of `ports`; None stands for all of them."""

    peers: tuple[Peer, ...] | None = None
    ports: tuple[Port, ...] | None = None


@dataclass(frozen=True)
class Policy:
    """A NetworkPolicy; a direction that is None does not isolate, an empty tuple allows nothing."""

    namespace: str
    name: str
    selector: Selector = field(default_factory=Selector)
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None


@dataclass(frozen=True)
class World:
    """One consistent view of the cluster, the input of `compile.compile_world`.

    `pod_cidrs`: where pod addresses come from; `node`: pods of other nodes are peers only ("" = this node has all).
    """

    pods: tuple[Pod, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    policies: tuple[Policy, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    node: str = ""


def refusing(namespace: str, name: str) -> Policy:
    """What stands in for a policy that cannot be read: its whole namespace is isolated until it can."""
    return Policy(namespace, name, Selector(), ingress=(), egress=())


def parse_selector(obj: Obj) -> Selector:
    """Raise ModelError for an unknown operator, as guessing would allow traffic."""
    requirements = []
    for item in obj.get("matchExpressions") or ():
        if item["operator"] not in OPERATORS:
            raise ModelError(f"unknown selector operator {item['operator']!r}")
        requirements.append(Requirement(item["key"], item["operator"], tuple(sorted(item.get("values") or ()))))
    return Selector(
        tuple(sorted((obj.get("matchLabels") or {}).items())),
        tuple(sorted(requirements, key=lambda r: (r.key, r.operator, r.values))),
    )


def parse_pod(obj: Obj) -> Pod:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    addresses = [item["ip"] for item in status.get("podIPs") or () if item.get("ip")]
    if not addresses and status.get("podIP"):
        addresses = [status["podIP"]]
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        labels=dict(meta.get("labels") or {}),
        addresses=tuple(ipaddress.ip_address(address) for address in addresses),
        ports=_named_ports(spec),
        node=spec.get("nodeName", ""),
        created=meta.get("creationTimestamp") or "",
        host_network=bool(spec.get("hostNetwork")),
        finished=status.get("phase") in ("Succeeded", "Failed"),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def _named_ports(spec: Obj) -> tuple[tuple[str, str, int], ...]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return tuple(
        (port["name"], port.get("protocol") or "TCP", int(port["containerPort"]))
        for container in [*(spec.get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("name")
    )


def parse_namespace(obj: Obj) -> Namespace:
    return Namespace(obj["metadata"]["name"], dict(obj["metadata"].get("labels") or {}))


def parse_policy(obj: Obj) -> Policy:
    """Raise ModelError (or KeyError, TypeError, ValueError) when a part cannot be understood; see `refusing`."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    if unknown := set(types) - {"Ingress", "Egress"}:
        raise ModelError(f"unknown policy types {sorted(unknown)}")
    return Policy(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=parse_selector(spec.get("podSelector") or {}),
        ingress=_parse_rules(spec.get("ingress"), "from") if "Ingress" in types else None,
        egress=_parse_rules(spec.get("egress"), "to") if "Egress" in types else None,
    )


def _parse_rules(items: list[Obj] | None, peers_key: str) -> tuple[Rule, ...]:
    # An absent and an empty list of peers (or ports) both mean "all": networking.k8s.io/v1 says so for each field.
    return tuple(
        Rule(
            peers=tuple(_parse_peer(peer) for peer in item[peers_key]) if item.get(peers_key) else None,
            ports=tuple(_parse_port(port) for port in item["ports"]) if item.get("ports") else None,
        )
        for item in items or ()
    )


def _parse_peer(obj: Obj) -> Peer:
    block, pods, namespaces = obj.get("ipBlock"), obj.get("podSelector"), obj.get("namespaceSelector")
    if block is not None:
        if pods is not None or namespaces is not None:
            raise ModelError("ipBlock together with a selector")
        excepts = tuple(ipaddress.ip_network(item, strict=False) for item in block.get("except") or ())
        return BlockPeer(ipaddress.ip_network(block["cidr"], strict=False), excepts)
    if pods is None and namespaces is None:
        raise ModelError("a peer without podSelector, namespaceSelector and ipBlock")
    return PodPeer(parse_selector(pods or {}), None if namespaces is None else parse_selector(namespaces))


def _parse_port(obj: Obj) -> Port:
    protocol, port, end = obj.get("protocol") or "TCP", obj.get("port"), obj.get("endPort")
    if protocol not in PROTOCOLS:
        raise ModelError(f"unknown protocol {protocol!r}")
    if end is not None and not isinstance(port, int):
        raise ModelError("endPort needs a numeric port")
    if port is None:
        return Port(protocol)
    if isinstance(port, str):
        return Port(protocol, name=port)
    return Port(protocol, first=port, last=port if end is None else end)
