"""How long the NetworkPolicy agent takes from a changed cluster to loaded rules, next to the floor.

`python -m tests.bench.netpol [--pods 500] [--policies 50] [--rounds 20]` as root. The floor is `nft -f` of a text that
was rendered before: what no renderer could undercut. Both are measured in the same run, alternately, in a network
namespace that the script makes for itself. Prints one JSON line with milliseconds; the `cpu` figures leave out
what other processes of a busy machine take.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from random import Random
from typing import Any

from hack.cluster.netpol import filter as packet_filter
from hack.cluster.netpol.compile import compile_world
from hack.cluster.netpol.model import Pod, World, parse_namespace, parse_pod, parse_policy
from hack.cluster.netpol.render import render, size
from tests.netpol.builders import namespace, pod, policy

CLONE_NEWNET = 0x40000000
SPACES = 25


def specs(random: Random) -> dict[str, Any]:
    """A policy as charts have them: some labels, a few peers in this and other namespaces, ports by number and name."""
    peers = [
        {"podSelector": {"matchLabels": {"app": f"app{random.randrange(8)}"}}},
        {"namespaceSelector": {"matchLabels": {"team": f"team{random.randrange(5)}"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.0.0/16"]}},
    ]
    ports: list[dict[str, Any]] = [{"port": 8000}, {"port": "http"}, {"port": 9000, "endPort": 9100}]
    everything = random.random() < 0.3
    return {
        "podSelector": {} if everything else {"matchLabels": {"app": f"app{random.randrange(8)}"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers, "ports": ports}],
        "egress": [{"to": peers[:2], "ports": ports[:1]}, {"ports": [{"port": 53, "protocol": "UDP"}]}],
    }


def world(pods: int, policies: int) -> World:
    random = Random(1)
    ports = [{"name": "http", "containerPort": 8080}]
    first = int(ipaddress.ip_address("10.244.0.10"))
    return World(
        tuple(
            parse_pod(
                pod(
                    f"p{i}",
                    str(ipaddress.ip_address(first + i)),
                    namespace=f"ns{i % SPACES}",
                    labels={"app": f"app{i % 8}"},
                    ports=ports,
                )
            )
            for i in range(pods)
        ),
        tuple(parse_namespace(namespace(f"ns{i}", team=f"team{i % 5}")) for i in range(SPACES)),
        tuple(parse_policy(policy(f"policy{i}", specs(random), f"ns{i % SPACES}")) for i in range(policies)),
        (ipaddress.IPv4Network("10.244.0.0/16"),),
    )


def changed(given: World, turn: int) -> World:
    """The same cluster after one pod got another label, so that no round can profit from the last."""
    first: Pod = replace(given.pods[0], labels={"app": f"turn{turn}"})
    return replace(given, pods=(first, *given.pods[1:]))


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered) * 1000, 1),
        "p95": round(ordered[int(len(ordered) * 0.95)] * 1000, 1),
    }


def floor(text: str) -> float:
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        start = time.perf_counter()
        subprocess.run(["nft", "-f", "-"], stdin=file, check=True)
        return time.perf_counter() - start


def children_cpu() -> float:
    """CPU seconds of the nft processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--policies", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        print("needs root: a network namespace cannot be made", file=sys.stderr)
        return 1
    base = world(options.pods, options.policies)
    rendering, computing, whole, floors = [], [], [], []
    kernel = children_cpu()
    for turn in range(options.rounds):
        now = changed(base, turn)
        start, used = time.perf_counter(), time.process_time()
        ruleset = compile_world(now)
        text = render(ruleset)
        rendering.append(time.perf_counter() - start)
        computing.append(time.process_time() - used)
        packet_filter.load(text)
        whole.append(time.perf_counter() - start)
        floors.append(floor(text))
    kernel = (children_cpu() - kernel) / (2 * options.rounds)
    chains, elements = size(ruleset)
    print(
        json.dumps(
            {
                "pods": options.pods,
                "policies": options.policies,
                "chains": chains,
                "elements": elements,
                "lines": text.count("\n"),
                "render_ms": milliseconds(rendering),
                "render_cpu_ms": milliseconds(computing),
                "render_and_load_ms": milliseconds(whole),
                "floor_nft_ms": milliseconds(floors),
                "floor_nft_cpu_ms": round(kernel * 1000, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
