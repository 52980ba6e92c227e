"""Every feature of NetworkPolicy with real connections through the loaded rules."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from hack.cluster.netpol.model import World, parse_namespace, parse_pod, parse_policy
from tests.netpol.builders import app, namespace, pod, policy
from tests.netpol.netlab import POD_CIDRS, Flow, Lab, inside

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

PODS = ("web", "db", "client", "other")
SPACES = {"web": "shop", "db": "shop", "client": "shop", "other": "office"}
NAMED = {
    "web": [{"name": "http", "containerPort": 8080}],
    "db": [{"name": "http", "containerPort": 80}, {"name": "dns", "containerPort": 81, "protocol": "UDP"}],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(*PODS) as lab:
        yield lab


def world(lab: Lab, *policies: dict[str, Any], labels: dict[str, dict[str, str]] | None = None) -> World:
    pods = [
        pod(
            name,
            *lab.addresses[name],
            namespace=SPACES[name],
            labels=(labels or {}).get(name, {"app": name}),
            ports=NAMED.get(name),
        )
        for name in PODS
    ]
    spaces = [namespace("shop", team="a"), namespace("office", team="b")]
    return World(
        tuple(parse_pod(obj) for obj in pods),
        tuple(parse_namespace(obj) for obj in spaces),
        tuple(parse_policy(obj) for obj in policies),
        tuple(ipaddress.ip_network(cidr) for cidr in POD_CIDRS),
    )


def shop(spec: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return policy(name, spec, "shop")


def to_web(**sources: bool) -> dict[Flow, bool]:
    """For each source whether it reaches web:80, over both address families."""
    return {Flow(source, "web", family=family): ok for source, ok in sources.items() for family in (4, 6)}


def test_without_policies_everything_passes(lab: Lab) -> None:
    lab.apply(world(lab))
    flows = {
        Flow(a, b, 80, protocol, family): True
        for a, b in permutations((*PODS, "outside", "node"), 2)
        for protocol in ("TCP", "UDP")
        for family in (4, 6)
    }
    lab.expect(flows)


def test_default_deny_ingress_is_for_selected_pods_only_and_spares_the_node(lab: Lab) -> None:
    lab.apply(world(lab, shop({"podSelector": app("web")})))
    lab.expect(
        {
            **to_web(client=False, other=False, outside=False, db=False, node=True),
            Flow("node", "web", 80, "UDP"): True,
            Flow("client", "web", 80, "UDP"): False,
            Flow("web", "db"): True,
            Flow("web", "web"): True,
            Flow("client", "db"): True,
            Flow("other", "client"): True,
        }
    )


def test_default_deny_egress(lab: Lab) -> None:
    lab.apply(world(lab, shop({"podSelector": app("client"), "policyTypes": ["Egress"]})))
    lab.expect(
        {
            Flow("client", "web"): False,
            Flow("client", "outside"): False,
            Flow("client", "node"): False,
            Flow("client", "10.77.0.1"): False,
            Flow("client", "node", family=6): False,
            Flow("client", "web", 80, "UDP", 6): False,
            Flow("web", "client"): True,
            Flow("node", "client"): True,
            Flow("web", "node"): True,
            Flow("other", "outside"): True,
        }
    )


def test_pod_selector_means_own_namespace(lab: Lab) -> None:
    spec = {"podSelector": app("web"), "ingress": [{"from": [{"podSelector": {}}]}]}
    lab.apply(world(lab, shop(spec)))
    lab.expect(to_web(client=True, db=True, other=False, outside=False))


@pytest.mark.parametrize(
    ("expression", "sources"),
    [
        ({"operator": "In", "values": ["front", "x"]}, {"client": True, "db": False, "other": False}),
        # NotIn also finds what has no such label at all.
        ({"operator": "NotIn", "values": ["front"]}, {"client": False, "db": True, "other": True}),
        ({"operator": "Exists"}, {"client": True, "db": True, "other": False}),
        ({"operator": "DoesNotExist"}, {"client": False, "db": False, "other": True}),
    ],
)
def test_match_expressions(lab: Lab, expression: dict[str, Any], sources: dict[str, bool]) -> None:
    peer = {"podSelector": {"matchExpressions": [{"key": "tier", **expression}]}, "namespaceSelector": {}}
    labels = {name: {"app": name} for name in PODS}
    labels["client"]["tier"], labels["db"]["tier"] = "front", "back"
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"from": [peer]}]}), labels=labels))
    lab.expect(to_web(**sources))


def test_namespace_selector_alone_and_with_pod_selector(lab: Lab) -> None:
    office = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"from": [office]}]})))
    lab.expect(to_web(other=True, client=False, outside=False))
    everywhere = {"namespaceSelector": {}, "podSelector": app("client")}
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"from": [everywhere]}]})))
    lab.expect(to_web(client=True, db=False, other=False, outside=False))
    nobody = {**office, "podSelector": app("client")}
    either = {"from": [nobody, {"podSelector": app("db")}]}
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [either]})))
    lab.expect(to_web(client=False, db=True, other=False))


def test_ip_block_with_exceptions(lab: Lab) -> None:
    def blocks(*items: dict[str, Any]) -> World:
        peers = [{"ipBlock": item} for item in items]
        return world(lab, shop({"podSelector": app("web"), "ingress": [{"from": peers}]}))

    lab.apply(blocks({"cidr": "192.0.2.0/24"}, {"cidr": "2001:db8::/32"}))
    lab.expect(to_web(outside=True, client=False, other=False))
    lab.apply(blocks({"cidr": "0.0.0.0/0", "except": ["10.77.0.0/28", "10.77.0.0/24"]}, {"cidr": "fd77::/64"}))
    lab.expect(
        {
            Flow("outside", "web"): True,
            Flow("client", "web"): False,
            Flow("client", "web", family=6): True,
            Flow("outside", "web", family=6): False,
        }
    )
    lab.apply(
        world(
            lab,
            shop(
                {
                    "podSelector": app("client"),
                    "policyTypes": ["Egress"],
                    "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.0.2.1/32"]}}]}],
                }
            ),
        )
    )
    lab.expect({Flow("client", "outside"): True, Flow("client", "node"): False, Flow("client", "web"): True})


def test_empty_peers_mean_everyone(lab: Lab) -> None:
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"from": [], "ports": [{"port": 80}]}]})))
    lab.expect({**to_web(client=True, other=True, outside=True), Flow("client", "web", 81): False})
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{}]})))
    lab.expect({**to_web(client=True, outside=True), Flow("client", "web", 81, "UDP"): True})


def test_ports_protocols_and_ranges(lab: Lab) -> None:
    ports = [{"port": 80, "endPort": 81}, {"port": 9000, "protocol": "UDP"}]
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"ports": ports}]})))
    lab.expect(
        {
            Flow("client", "web", 80): True,
            Flow("client", "web", 81, family=6): True,
            Flow("client", "web", 8080): False,
            Flow("client", "web", 80, "UDP"): False,
            Flow("client", "web", 9000, "UDP"): True,
            Flow("client", "web", 9000): False,
        }
    )
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"ports": [{"protocol": "UDP"}]}]})))
    lab.expect({Flow("client", "web", 8080, "UDP"): True, Flow("client", "web", 8080): False})


def test_sctp_ports(lab: Lab) -> None:
    lab.apply(world(lab, shop({"podSelector": app("web"), "ingress": [{"ports": [{"port": 81, "protocol": "SCTP"}]}]})))
    with inside(lab.netns("web")):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with inside(lab.netns("client")):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with receiver, sender:
        receiver.settimeout(5)
        init = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
        # The kernel hands over in order, so whatever came before 81 did not get through.
        for port in (80, 82, 81):
            sender.sendto(struct.pack("!HHII", 4000, port, 0, 0) + init, (lab.address("web"), 0))
        packet = receiver.recv(2048)
    assert struct.unpack("!H", packet[22:24]) == (81,)


def test_named_ports_are_those_of_the_destination(lab: Lab) -> None:
    http = {"ports": [{"port": "http"}]}
    lab.apply(world(lab, shop({"policyTypes": ["Ingress"], "ingress": [http]})))
    lab.expect(
        {
            Flow("client", "web", 8080): True,
            Flow("client", "web", 80): False,
            Flow("client", "db", 80): True,
            Flow("client", "db", 8080, family=6): False,
            Flow("web", "client", 80): False,
        }
    )
    named = {"to": [{"podSelector": {}}], "ports": [{"port": "http"}, {"port": "dns", "protocol": "UDP"}]}
    lab.apply(world(lab, shop({"podSelector": app("client"), "policyTypes": ["Egress"], "egress": [named]})))
    lab.expect(
        {
            Flow("client", "web", 8080, family=6): True,
            Flow("client", "web", 80): False,
            Flow("client", "db", 80): True,
            Flow("client", "db", 81, "UDP"): True,
            Flow("client", "db", 81): False,
            Flow("client", "other", 80): False,
        }
    )


def test_policies_add_up_and_both_ends_must_agree(lab: Lab) -> None:
    one = shop({"podSelector": app("web"), "ingress": [{"from": [{"podSelector": app("client")}]}]}, "one")
    two = shop({"podSelector": {}, "ingress": [{"from": [{"podSelector": app("db")}]}]}, "two")
    lab.apply(world(lab, one, two))
    lab.expect({**to_web(client=True, db=True, other=False), Flow("client", "db"): False})
    closed = shop({"podSelector": app("client"), "policyTypes": ["Egress"]}, "closed")
    lab.apply(world(lab, one, two, closed))
    lab.expect(to_web(client=False, db=True, other=False))


def test_replies_and_running_connections_survive_a_policy(lab: Lab) -> None:
    lab.apply(world(lab))
    flow = Flow("client", "web")
    sock = lab.open(flow)
    sock.settimeout(5)
    assert sock.recv(64) == b"welcome"
    both = [shop({"podSelector": app(name), "policyTypes": ["Ingress", "Egress"]}, name) for name in ("web", "client")]
    lab.apply(world(lab, *both))
    sock.send(b"still there?")
    assert sock.recv(64) == b"still there?"
    sock.close()
    lab.expect({flow: False, Flow("db", "other"): True})


def test_service_translation_is_judged_by_the_pod_behind_it(lab: Lab) -> None:
    web, db = lab.address("web"), lab.address("db")
    lab.nft(
        f"""
        table ip fakeproxy
        delete table ip fakeproxy
        table ip fakeproxy {{
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                ip daddr 10.96.0.1 tcp dport 443 dnat to {web}:8080
                ip daddr 10.96.0.2 tcp dport 443 dnat to {db}:8080
                ip daddr 10.96.0.3 tcp dport 443 dnat to 192.0.2.1:9000
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                ip saddr {web} ip daddr {web} masquerade
            }}
        }}
        """
    )
    spec = {
        "podSelector": app("client"),
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": app("web")}], "ports": [{"port": 8080}]}],
    }
    closed = {"podSelector": app("web"), "ingress": [{"from": [{"podSelector": app("client")}]}]}
    lab.apply(world(lab, shop(spec), shop(closed, "closed")))
    lab.expect(
        {
            Flow("client", "10.96.0.1", 443): True,
            Flow("client", "10.96.0.2", 443): False,
            Flow("client", "10.96.0.3", 443): False,
            Flow("other", "10.96.0.1", 443): False,
            Flow("other", "10.96.0.3", 443): True,
            # Hairpin: a pod behind a Service may be sent to itself.
            Flow("web", "10.96.0.1", 443): True,
        }
    )
    lab.nft("delete table ip fakeproxy")


def test_address_of_no_known_pod_is_refused(lab: Lab) -> None:
    full = world(lab)
    lab.apply(World(tuple(p for p in full.pods if p.name != "client"), full.namespaces, (), full.pod_cidrs))
    lab.expect(
        {
            Flow("client", "web"): False,
            Flow("client", "outside", family=6): False,
            Flow("client", "node"): False,
            Flow("web", "client"): False,
            Flow("node", "client"): True,
            Flow("other", "web"): True,
        }
    )
