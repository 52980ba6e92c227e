"""Random clusters: the compiled rules, and the kernel with them, decide as the reference evaluator does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hack.cluster.netpol.compile import compile_world
from hack.cluster.netpol.ir import Ruleset
from hack.cluster.netpol.model import World
from tests.netpol import evaluate
from tests.netpol.netlab import Flow, Lab
from tests.netpol.reference import Packet, allowed
from tests.netpol.worlds import POD_CIDRS, PORT_NUMBERS, Cluster, cluster

FAMILIES = (
    [f"10.77.0.{10 + i}" for i in range(7)] + ["192.0.2.10"],
    [f"fd77::{10 + i:x}" for i in range(7)] + ["2001:db8::10"],
)
PACKETS = [
    Packet(source, destination, protocol, port)
    for ends in FAMILIES
    for source, destination in product(ends, ends)
    for protocol in ("TCP", "UDP", "SCTP")
    for port in PORT_NUMBERS
]


def reference(given_cluster: Cluster, packet: Packet) -> bool:
    return allowed(packet, given_cluster.pods, given_cluster.namespaces, given_cluster.policies, POD_CIDRS)


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32), sample=st.integers(0, 2**32))
def test_compiled_rules_decide_as_the_reference(seed: int, sample: int) -> None:
    made = cluster(Random(seed))
    ruleset = compile_world(made.world())
    for packet in Random(sample).sample(PACKETS, 150):
        assert evaluate.passes(ruleset, packet) == reference(made, packet), packet


def test_the_random_clusters_are_worth_asking() -> None:
    """Without a good mix of both answers and of both causes the comparison would be blind."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        made = cluster(Random(seed))
        without = Cluster(made.pods, made.namespaces, [])
        for packet in Random(seed).sample(PACKETS, 60):
            if reference(made, packet):
                seen["allowed"] += 1
                ruleset = compile_world(made.world())
                seen["allowed by a rule"] += concerns_isolated_pod(ruleset, packet)
            elif reference(without, packet):
                seen["refused by a policy"] += 1
    assert min(seen["allowed"], seen["allowed by a rule"], seen["refused by a policy"]) > 200, seen


def concerns_isolated_pod(ruleset: Ruleset, packet: Packet) -> bool:
    isolated = {str(address) for pairs in (ruleset.ingress, ruleset.egress) for address, _ in pairs}
    return packet.source in isolated or packet.destination in isolated


def test_order_of_objects_does_not_matter() -> None:
    for seed in range(40):
        world = cluster(Random(seed)).world()
        shuffled = World(world.pods[::-1], world.namespaces[::-1], world.policies[::-1], world.pod_cidrs[::-1])
        assert compile_world(shuffled) == compile_world(world)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(*(f"p{i}" for i in range(5))) as lab:
        yield lab


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.parametrize("seed", range(12))
def test_the_kernel_decides_as_the_reference(lab: Lab, seed: int) -> None:
    random = Random(seed)
    made = cluster(random, pods=5, policies=6)
    names = {f"p{i}": lab.addresses[f"p{i}"] for i in range(5)} | {"outside": lab.addresses["outside"]}
    for obj in made.pods:
        addresses = names[obj["metadata"]["name"]]
        obj["status"] |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    flows = [
        Flow(source, target, port, protocol, family)
        for source, target in product(names, names)
        if source != target
        for protocol in ("TCP", "UDP")
        for port in PORT_NUMBERS
        for family in (4, 6)
    ]
    hoped = {}
    for flow in random.sample(flows, 200):
        side = flow.family == 6
        packet = Packet(names[flow.source][side], names[flow.target][side], flow.protocol, flow.port)
        hoped[flow] = reference(made, packet)
    lab.apply(made.world())
    lab.expect(hoped)
