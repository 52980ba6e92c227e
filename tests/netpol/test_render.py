"""Golden nftables text, one file per feature, which the real nft also has to take."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.netpol.compile import compile_world
from hack.cluster.netpol.model import World, parse_namespace, parse_pod, parse_policy
from hack.cluster.netpol.render import render, size
from tests.netpol.builders import app, namespace, pod, policy

GOLDEN = Path(__file__).parent / "golden"
BLOCK = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}
WEB = {"podSelector": app("web")}
CASES: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "default-deny": [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}],
    "allow-all": [{"ingress": [{}], "egress": [{}]}],
    "peers": [
        {
            **WEB,
            "ingress": [
                {
                    "from": [
                        {"podSelector": app("client")},
                        {"namespaceSelector": {"matchLabels": {"team": "b"}}},
                        {"namespaceSelector": {}, "podSelector": {"matchExpressions": [
                            {"key": "app", "operator": "NotIn", "values": ["web", "db"]},
                        ]}},
                    ]
                }
            ],
        }
    ],
    "ip-block": [{**WEB, "ingress": [{"from": [{"ipBlock": BLOCK}, {"ipBlock": {"cidr": "2001:db8::/32"}}]}]}],
    "ports": [
        {
            **WEB,
            "ingress": [
                {
                    "ports": [
                        {"port": 80},
                        {"port": 8000, "endPort": 8100},
                        {"protocol": "UDP"},
                        {"protocol": "SCTP", "port": 5060},
                    ]
                }
            ],
        }
    ],
    "named-ports": [
        {
            **WEB,
            "ingress": [{"ports": [{"port": "http"}]}],
            "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": "http"}, {"port": 53, "protocol": "UDP"}]}],
        }
    ],
    "two-policies": [{**WEB}, {**WEB, "ingress": [{"from": [{"podSelector": app("client")}]}]}],
}  # fmt: skip


def text(case: str) -> str:
    pods = [
        pod("web", "10.0.0.1", "fd00::1", labels=app("web")["matchLabels"], ports=[
            {"name": "http", "containerPort": 8080},
        ]),
        pod("client", "10.0.0.2", "fd00::2", labels=app("client")["matchLabels"], ports=[
            {"name": "http", "containerPort": 80},
        ]),
        pod("other", "10.0.0.3", namespace="office", labels=app("other")["matchLabels"]),
    ]  # fmt: skip
    world = World(
        tuple(parse_pod(obj) for obj in pods),
        (parse_namespace(namespace("default")), parse_namespace(namespace("office", team="b"))),
        tuple(parse_policy(policy(f"p{i}", spec)) for i, spec in enumerate(CASES[case])),
        (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/64")),
    )
    return render(compile_world(world))


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{case}.nft"
    if request.config.getoption("--update-golden"):
        golden.write_text(text(case))
    assert text(case) == golden.read_text()


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs nft and root")
@pytest.mark.parametrize("case", CASES)
def test_nft_takes_it_twice_in_a_namespace_of_its_own(case: str) -> None:
    for _ in range(2):
        command = ["unshare", "--net", "sh", "-c", "nft -f - && nft list table inet elink_netpol"]
        done = subprocess.run(command, input=text(case) * 2, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "chain forward" in done.stdout


def test_one_transaction_that_touches_its_own_table_only() -> None:
    lines = text("peers").splitlines()
    assert lines[:3] == ["table inet elink_netpol", "delete table inet elink_netpol", "table inet elink_netpol {"]
    assert sum(line.startswith("table") for line in lines) == 2
    assert "flush" not in text("peers")


def test_titles_cannot_break_out_of_the_text() -> None:
    long = policy("x" * 253, WEB, namespace="n" * 63)
    world = World(
        (parse_pod(pod("p", "10.0.0.1", namespace="n" * 63, labels={"app": "web"})),), (), (parse_policy(long),)
    )
    assert all(len(line) < 200 for line in render(compile_world(world)).splitlines())
    quote = policy("p", {"ingress": [{"from": [{"podSelector": {"matchLabels": {"a": 'b" ; accept # é'}}}]}]})
    evil = pod("p", "10.0.0.1", labels={"a": 'b" ; accept # é'})
    rendered = render(compile_world(World((parse_pod(evil),), (), (parse_policy(quote),))))
    assert 'comment "pods a=b? ; accept # ? in namespace default"' in rendered


def test_size_counts_chains_and_elements() -> None:
    ruleset = compile_world(World((parse_pod(pod("p", "10.0.0.1")),), (), (parse_policy(policy("deny", {})),)))
    assert size(ruleset) == (1, 2)
