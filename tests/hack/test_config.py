"""Clusters of different names share nothing: ports, subnets, device names, folders."""

from __future__ import annotations

import ipaddress
import subprocess
import urllib.request
from pathlib import Path

import pytest

from hack.cluster import cli
from hack.cluster.config import Cluster, cache_dir, past_proxy

NAMES = ("dev", "test", "other")


def test_contract_ports_of_dev_and_test() -> None:
    assert (Cluster("dev").https_port, Cluster("dev").mail_port) == (8443, 8025)
    assert (Cluster("test").https_port, Cluster("test").mail_port) == (18443, 18025)


def test_state_folder_follows_the_name(tmp_path: Path) -> None:
    assert Cluster("dev", tmp_path).state == tmp_path / ".cluster"
    assert Cluster("test", tmp_path).state == tmp_path / ".cluster-test"


def test_clusters_do_not_overlap() -> None:
    clusters = [Cluster(name) for name in NAMES]
    ports = [port for c in clusters for port in c.forwards]
    assert len(set(ports)) == len(ports)
    ranges = [ipaddress.ip_network(r) for c in clusters for r in (f"{c.host_ip}/30", c.pod_cidr, c.service_cidr)
              for r in [str(ipaddress.ip_interface(r).network)]]  # fmt: skip
    for i, one in enumerate(ranges):
        assert not any(one.overlaps(other) for other in ranges[i + 1 :])


@pytest.mark.parametrize("name", ["dev", "test", "a", "ab-cd-ef9"])
def test_addresses_lie_where_they_are_routed(name: str) -> None:
    cluster = Cluster(name)
    services = ipaddress.ip_network(cluster.service_cidr)
    assert ipaddress.ip_address(cluster.dns_ip) in services
    assert ipaddress.ip_address(cluster.api_service_ip) == next(services.hosts())
    cable = ipaddress.ip_network(f"{cluster.host_ip}/30", strict=False)
    assert ipaddress.ip_address(cluster.node_ip) in cable
    assert len(cluster.device) <= 15, "the kernel's limit for interface names"
    assert 0 < cluster.https_port < 65536


@pytest.mark.parametrize("name", ["", "Dev", "-a", "a-", "a/b", "toolongname", "a b", "1a"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        Cluster(name)


def test_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ELINK_CACHE")
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/.cache/elink")


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, []), ({"no_proxy": "corp.example"}, ["corp.example"]), ({"NO_PROXY": "a,b", "no_proxy": "c"}, ["a", "b"])],
)
def test_a_proxy_of_the_host_is_not_asked_for_the_cluster(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], kept: list[str]
) -> None:
    """kubectl, the API server and Python would all ask it for 10.200.0.2, which it cannot reach."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    cluster = Cluster("dev")
    added = past_proxy(cluster, given)
    assert added["NO_PROXY"] == added["no_proxy"], "programs disagree on which one counts"
    exempt = added["NO_PROXY"].split(",")
    assert exempt[: len(kept)] == kept
    assert {cluster.node_ip, cluster.service_cidr, cluster.pod_cidr, ".svc"} <= set(exempt)
    assert past_proxy(cluster, added) == added, "no list that grows"
    monkeypatch.setenv("no_proxy", added["no_proxy"])
    assert urllib.request.proxy_bypass(cluster.node_ip)
    assert urllib.request.proxy_bypass("aozora.elink.localhost:8443")
    assert not urllib.request.proxy_bypass("registry.example")


def test_every_command_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path))
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert cli.main(["up", "--name", "proxied"]) == 1, "it wants a KUBECONFIG"
    seen = subprocess.run(["sh", "-c", "echo $NO_PROXY $no_proxy"], capture_output=True, text=True, check=True).stdout
    assert seen.split() == [past_proxy(Cluster("proxied"), {"NO_PROXY": "corp.example"})["NO_PROXY"]] * 2
