"""Who owns an address, who is isolated, and what is merged."""

from __future__ import annotations

import ipaddress
from typing import Any

from hack.cluster.netpol.compile import compile_world
from hack.cluster.netpol.ir import PodSet, Ruleset
from hack.cluster.netpol.model import World, parse_namespace, parse_pod, parse_policy
from tests.netpol.builders import app, namespace, pod, policy


def compiled(pods: list[dict[str, Any]], *policies: dict[str, Any], node: str = "") -> Ruleset:
    return compile_world(
        World(
            tuple(parse_pod(obj) for obj in pods),
            (parse_namespace(namespace("default")),),
            tuple(parse_policy(obj) for obj in policies),
            (ipaddress.ip_network("10.0.0.0/24"),),
            node,
        )
    )


def isolated(ruleset: Ruleset) -> set[str]:
    return {str(address) for address, _ in ruleset.ingress}


def test_pods_without_a_network_of_their_own_are_left_alone() -> None:
    pods = [
        pod("runs", "10.0.0.1"),
        pod("waits"),
        pod("done", "10.0.0.2", phase="Succeeded"),
        pod("failed", "10.0.0.3", phase="Failed"),
        pod("host", "192.0.2.1", hostNetwork=True),
        pod("ending", "10.0.0.4", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]
    ruleset = compiled(pods, policy("deny", {}))
    assert isolated(ruleset) == {"10.0.0.1", "10.0.0.4"} == {str(address) for address in ruleset.pods}


def test_reused_address_belongs_to_the_pod_that_lives() -> None:
    old = pod("old", "10.0.0.1", labels={"app": "a"}, creationTimestamp="2026-01-02T00:00:00Z")
    new = pod("new", "10.0.0.1", labels={"app": "b"}, creationTimestamp="2026-01-01T00:00:00Z")
    deny = policy("deny", {"podSelector": app("b")})
    assert not isolated(compiled([old, new], deny))
    old["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:00Z"
    for order in ([old, new], [new, old]):
        assert isolated(compiled(order, deny)) == {"10.0.0.1"}


def test_pods_of_other_nodes_are_peers_only() -> None:
    pods = [pod("here", "10.0.0.1", nodeName="n1"), pod("there", "10.0.0.2", nodeName="n2")]
    ruleset = compiled(pods, policy("p", {"ingress": [{"from": [{"podSelector": {}}]}]}), node="n1")
    assert isolated(ruleset) == {"10.0.0.1"}
    peer = ruleset.ingress[0][1].policies[0].rules[0].peer
    assert isinstance(peer, PodSet)
    assert [str(address) for address in peer.addresses] == ["10.0.0.1", "10.0.0.2"]
    twin = pod("twin", "10.0.0.1", nodeName="n2", creationTimestamp="2030-01-01T00:00:00Z")
    assert isolated(compiled([*pods, twin], policy("p", {}), node="n1")) == {"10.0.0.1"}


def test_ranges_are_merged_and_sets_shared() -> None:
    ports = [{"port": 80, "endPort": 90}, {"port": 85, "endPort": 95}, {"port": 96}, {"port": 98}, {"port": 80}]
    peer = {"podSelector": app("a")}
    spec = {"ingress": [{"from": [peer], "ports": ports}, {"from": [peer], "ports": [{"port": 1, "protocol": "UDP"}]}]}
    ruleset = compiled([pod("a", "10.0.0.1", labels={"app": "a"})], policy("p", spec))
    first, second = ruleset.ingress[0][1].policies[0].rules
    assert [(r.first, r.last) for r in first.ranges or ()] == [(80, 96), (98, 98)]
    assert first.peer is second.peer


def test_pods_with_the_same_policies_share_a_profile() -> None:
    pods = [pod(f"p{i}", f"10.0.0.{i}", labels={"app": "ab"[i % 2]}) for i in range(1, 9)]
    ruleset = compiled(pods, policy("all", {}), policy("one", {"podSelector": app("a")}))
    assert len({profile.name for _, profile in ruleset.ingress}) == 2


def test_a_rule_that_nobody_can_use_is_left_out() -> None:
    spec = {"ingress": [{"from": [{"podSelector": app("nobody")}]}, {"ports": [{"port": "nowhere"}]}]}
    ruleset = compiled([pod("a", "10.0.0.1")], policy("p", spec))
    assert ruleset.ingress[0][1].policies[0].rules == ()
