"""Random clusters: few names and values, so that selectors hit and miss about equally often."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from random import Random
from typing import Any

from hack.cluster.netpol.model import World, parse_namespace, parse_pod, parse_policy
from tests.netpol.builders import namespace, pod, policy

Obj = dict[str, Any]
KEYS, VALUES = ("app", "tier"), ("x", "y")
PORT_NUMBERS = (80, 81, 8080, 9000)
POD_CIDRS = ["10.77.0.0/24", "fd77::/64"]
BLOCKS = ("0.0.0.0/0", "10.77.0.0/24", "10.77.0.8/29", "192.0.2.0/24", "::/0", "fd77::/64", "2001:db8::/32")
INNER = {
    "0.0.0.0/0": ["10.77.0.12/32", "10.77.0.0/28", "192.0.2.0/24"],
    "10.77.0.0/24": ["10.77.0.8/30", "10.77.0.10/32"],
    "::/0": ["fd77::a/128", "2001:db8::/32"],
    "fd77::/64": ["fd77::8/125"],
}


@dataclass
class Cluster:
    """API objects of one random cluster; `pods[i]` has the addresses 10.77.0.(10+i) and fd77::(10+i)."""

    pods: list[Obj]
    namespaces: list[Obj]
    policies: list[Obj]

    def world(self) -> World:
        return World(
            tuple(parse_pod(obj) for obj in self.pods),
            tuple(parse_namespace(obj) for obj in self.namespaces),
            tuple(parse_policy(obj) for obj in self.policies),
            tuple(ipaddress.ip_network(cidr) for cidr in POD_CIDRS),
        )


def cluster(random: Random, pods: int = 6, policies: int = 5) -> Cluster:
    spaces = ["alpha", "beta", "gamma"]
    return Cluster(
        [_pod(random, i, random.choice(spaces)) for i in range(pods)],
        # The third namespace is unknown: its object has not arrived yet.
        [namespace(name, **_labels(random)) for name in spaces[:2]],
        [policy(f"p{i}", _spec(random), random.choice(spaces)) for i in range(random.randint(0, policies))],
    )


def _pod(random: Random, i: int, space: str) -> Obj:
    ports = []
    if random.random() < 0.6:
        ports.append({"name": "http", "containerPort": random.choice(PORT_NUMBERS)})
    if random.random() < 0.3:
        ports.append({"name": "dns", "containerPort": random.choice(PORT_NUMBERS), "protocol": "UDP"})
    extra: dict[str, Any] = {"phase": "Succeeded"} if random.random() < 0.1 else {}
    if random.random() < 0.1:
        extra["hostNetwork"] = True
    return pod(
        f"p{i}", f"10.77.0.{10 + i}", f"fd77::{10 + i:x}", namespace=space, labels=_labels(random), ports=ports, **extra
    )


def _labels(random: Random) -> dict[str, str]:
    return {key: random.choice(VALUES) for key in KEYS if random.random() < 0.7}


def _selector(random: Random) -> Obj:
    selector: Obj = {}
    if random.random() < 0.4:
        selector["matchLabels"] = {random.choice(KEYS): random.choice(VALUES)}
    if random.random() < 0.4:
        operator = random.choice(["In", "NotIn", "Exists", "DoesNotExist"])
        expression: Obj = {"key": random.choice(KEYS), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = random.sample(VALUES, random.randint(1, 2))
        selector["matchExpressions"] = [expression]
    return selector


def _spec(random: Random) -> Obj:
    spec: Obj = {"podSelector": _selector(random)}
    if random.random() < 0.7:
        spec["policyTypes"] = random.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    for section, peers in (("ingress", "from"), ("egress", "to")):
        if random.random() < 0.7:
            spec[section] = [_rule(random, peers) for _ in range(random.randint(0, 2))]
    return spec


def _rule(random: Random, peers: str) -> Obj:
    rule: Obj = {}
    if random.random() < 0.75:
        rule[peers] = [_peer(random) for _ in range(random.randint(0, 2))]
    if random.random() < 0.5:
        rule["ports"] = [_port(random) for _ in range(random.randint(0, 3))]
    return rule


def _peer(random: Random) -> Obj:
    shape = random.choice(["pods", "namespaces", "both", "block"])
    if shape == "block":
        cidr = random.choice(BLOCKS)
        inner = INNER.get(cidr, [])
        return {"ipBlock": {"cidr": cidr, "except": random.sample(inner, random.randint(0, len(inner)))}}
    peer: Obj = {}
    if shape in ("pods", "both"):
        peer["podSelector"] = _selector(random)
    if shape in ("namespaces", "both"):
        peer["namespaceSelector"] = _selector(random)
    return peer


def _port(random: Random) -> Obj:
    port: Obj = {}
    if random.random() < 0.7:
        port["protocol"] = random.choice(["TCP", "TCP", "UDP", "SCTP"])
    kind = random.choice(["number", "range", "name", "any"])
    if kind == "number":
        port["port"] = random.choice(PORT_NUMBERS)
    elif kind == "range":
        port |= {"port": 80, "endPort": random.choice([80, 81, 8500])}
    elif kind == "name":
        port["port"] = random.choice(["http", "dns", "nowhere"])
    return port
