"""API objects to model values: defaults, absent against empty, and shapes that are refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hack.cluster.netpol.model import (
    BlockPeer,
    ModelError,
    PodPeer,
    Port,
    Requirement,
    Rule,
    Selector,
    parse_pod,
    parse_policy,
    parse_selector,
)
from tests.netpol.builders import pod, policy


def rules(spec: dict[str, Any]) -> tuple[tuple[Rule, ...] | None, tuple[Rule, ...] | None]:
    parsed = parse_policy(policy("p", spec))
    return parsed.ingress, parsed.egress


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, (), None),
        ({"ingress": []}, (), None),
        ({"egress": []}, (), None),
        ({"egress": [{}]}, (), (Rule(),)),
        ({"policyTypes": ["Egress"]}, None, ()),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, None, ()),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, (), None),
        ({"policyTypes": ["Ingress", "Egress"], "ingress": [{}]}, (Rule(),), ()),
    ],
)
def test_policy_types_default_to_what_is_there(spec: dict[str, Any], ingress: Any, egress: Any) -> None:
    assert rules(spec) == (ingress, egress)


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"from": None, "ports": None}, {"ports": []}])
def test_absent_and_empty_lists_mean_all(rule: dict[str, Any]) -> None:
    assert rules({"ingress": [rule]})[0] == (Rule(None, None),)


def test_peers() -> None:
    peers = [
        {"podSelector": {}},
        {"podSelector": None, "namespaceSelector": {}},
        {"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {"matchLabels": {"c": "d"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    assert rules({"ingress": [{"from": peers}]})[0] == (
        Rule(
            (
                PodPeer(Selector(), None),
                PodPeer(Selector(), Selector()),
                PodPeer(Selector((("a", "b"),)), Selector((("c", "d"),))),
                BlockPeer(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),)),
            )
        ),
    )


def test_ports() -> None:
    ports = [{}, {"port": 80}, {"port": 80, "endPort": 90, "protocol": "SCTP"}, {"port": "dns", "protocol": "UDP"}]
    assert rules({"ingress": [{"ports": ports}]})[0] == (
        Rule(None, (Port("TCP"), Port("TCP", 80, 80), Port("SCTP", 80, 90), Port("UDP", name="dns"))),
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}},
        {"policyTypes": ["Sideways"]},
        {"ingress": [{"from": [{}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
        {"ingress": [{"ports": [{"protocol": "ICMP"}]}]},
        {"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]},
        {"ingress": [{"ports": [{"endPort": 90}]}]},
    ],
)
def test_what_would_have_to_be_guessed_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        parse_policy(policy("p", spec))


@pytest.mark.parametrize(
    ("operator", "values", "absent", "same", "different"),
    [
        ("In", ("x",), False, True, False),
        ("NotIn", ("x",), True, False, True),
        ("Exists", (), False, True, True),
        ("DoesNotExist", (), True, False, False),
    ],
)
def test_operators(operator: str, values: tuple[str, ...], absent: bool, same: bool, different: bool) -> None:
    requirement = Requirement("k", operator, values)
    assert [requirement.matches(labels) for labels in ({}, {"k": "x"}, {"k": "y"})] == [absent, same, different]


def test_selector_is_a_conjunction_and_canonical() -> None:
    a = {"key": "a", "operator": "In", "values": ["2", "1"]}
    b = {"key": "b", "operator": "Exists"}
    selector = parse_selector({"matchLabels": {"z": "1", "y": "2"}, "matchExpressions": [b, a]})
    swapped = {**a, "values": ["1", "2"]}
    assert selector == parse_selector({"matchExpressions": [swapped, b], "matchLabels": {"y": "2", "z": "1"}})
    full = {"z": "1", "y": "2", "a": "1", "b": ""}
    assert selector.matches(full)
    for key in full:
        assert not selector.matches({k: v for k, v in full.items() if k != key})


def test_pod() -> None:
    ports: list[dict[str, Any]] = [{"containerPort": 80}, {"name": "http", "containerPort": 8080}]
    obj = pod("p", "10.0.0.1", "fd00::1", labels={"a": "b"}, ports=ports, nodeName="n", phase="Pending")
    obj["spec"]["initContainers"] = [
        {"name": "once", "ports": [{"name": "no", "containerPort": 1}]},
        {
            "name": "sidecar",
            "restartPolicy": "Always",
            "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}],
        },
    ]
    parsed = parse_pod(obj)
    assert parsed.addresses == (ip_address("10.0.0.1"), ip_address("fd00::1"))
    assert parsed.ports == (("http", "TCP", 8080), ("dns", "UDP", 53))
    assert (parsed.node, parsed.finished, parsed.host_network, parsed.deleting) == ("n", False, False, False)


def test_pod_with_the_old_single_address_field_only() -> None:
    obj = pod("p", "10.0.0.1")
    del obj["status"]["podIPs"]
    assert parse_pod(obj).addresses == (ip_address("10.0.0.1"),)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pod(phase: str) -> None:
    assert parse_pod(pod("p", "10.0.0.1", phase=phase)).finished
