"""Certificates, by the real openssl."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
from pathlib import Path

import pytest

from hack.cluster.config import Cluster
from hack.cluster.pki import Leaf, Pki, leaves
from hack.cluster.steps import Steps, succeeds


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    root = tmp_path_factory.mktemp("checkout")
    pki = Pki(Cluster("test", root), Steps(root / "logs"))
    (root / "logs").mkdir()
    pki.ensure_all()
    return pki


def text_of(certificate: Path) -> str:
    return subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout


def test_every_certificate_is_signed_by_its_authority(pki: Pki) -> None:
    for leaf in (*leaves(pki.cluster), Leaf("gateway", "", authority="gateway-ca")):
        assert succeeds("openssl", "verify", "-CAfile", pki.path(f"{leaf.authority}.crt"), pki.path(f"{leaf.stem}.crt"))


def test_keys_are_for_their_owner_only(pki: Pki) -> None:
    keys = [path for path in pki.cluster.pki.iterdir() if path.suffix == ".key"]
    assert len(keys) > 10
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}
    assert pki.cluster.pki.stat().st_mode & 0o077 == 0


def test_a_second_run_changes_nothing(pki: Pki) -> None:
    before = {path: path.read_bytes() for path in pki.cluster.pki.iterdir()}
    again = Pki(pki.cluster, pki.steps)
    again.ensure_all()
    assert again.changed == []
    assert {path: path.read_bytes() for path in pki.cluster.pki.iterdir()} == before


def test_a_lost_certificate_is_made_again(pki: Pki) -> None:
    pki.path("scheduler.crt").unlink()
    again = Pki(pki.cluster, pki.steps)
    again.ensure_all()
    assert again.changed == ["scheduler"]


def test_a_renewal_that_was_killed_half_way_is_finished(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new key beside the old certificate: no program would start with the pair."""
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".crt":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Pki, "_fresh", lambda _, stem, __: stem != "scheduler")
        patch.setattr(Path, "rename", killed)
        Pki(pki.cluster, pki.steps).ensure_all()
    again = Pki(pki.cluster, pki.steps)
    again.ensure_all()
    assert again.changed == ["scheduler"]
    context = ssl.create_default_context()
    context.load_cert_chain(pki.path("scheduler.crt"), pki.path("scheduler.key"))


def test_a_public_key_that_a_full_disk_cut_off_is_made_again(pki: Pki) -> None:
    public, key = pki.path("service-accounts.pub"), pki.path("service-accounts.key")
    before, private = public.read_bytes(), key.read_bytes()
    public.write_bytes(b"")
    Pki(pki.cluster, pki.steps).ensure_all()
    assert public.read_bytes() == before
    assert key.read_bytes() == private, "tokens that are out stay valid"


def test_a_certificate_of_another_authority_is_replaced(pki: Pki) -> None:
    pki.path("kube-proxy.crt").write_bytes(pki.path("gateway.crt").read_bytes())
    again = Pki(pki.cluster, pki.steps)
    again.ensure_all()
    assert again.changed == ["kube-proxy"]


def test_the_api_server_is_known_by_address_and_service_name(pki: Pki) -> None:
    text = text_of(pki.path("apiserver.crt"))
    for name in (pki.cluster.node_ip, pki.cluster.api_service_ip, "kubernetes.default.svc"):
        assert name in text


def test_the_imported_authority_can_vouch_for_the_local_domain_only(pki: Pki) -> None:
    assert (pki.cluster.state / "ca.crt").read_bytes() == pki.path("gateway-ca.crt").read_bytes()
    assert "Name Constraints: critical" in text_of(pki.cluster.state / "ca.crt")
    evil = Leaf("evil", "bank.example", names=("DNS:bank.example",), authority="gateway-ca", usage="serverAuth")
    pki._leaf(evil)
    try:
        done = subprocess.run(
            ["openssl", "verify", "-CAfile", str(pki.cluster.state / "ca.crt"), str(pki.path("evil.crt"))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "permitted subtree violation" in done.stderr
    finally:
        pki.path("evil.crt").unlink()
        pki.path("evil.key").unlink()


@pytest.mark.parametrize(("host", "accepted"), [("aozora.elink.localhost", True), ("aozora.example", False)])
def test_a_client_that_trusts_ca_crt_accepts_tenants_only(pki: Pki, host: str, accepted: bool) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.path("gateway.crt"), pki.path("gateway.key"))
    client = ssl.create_default_context(cafile=str(pki.cluster.state / "ca.crt"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    c = client.wrap_bio(to_client, to_server, server_hostname=host)
    s = server.wrap_bio(to_server, to_client, server_side=True)

    def shake() -> None:
        for _ in range(4):
            for side in (c, s):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()

    if accepted:
        shake()
        assert c.version() in {"TLSv1.2", "TLSv1.3"}
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake()


def test_kubeconfig_names_its_user(pki: Pki) -> None:
    config = json.loads(pki.kubeconfig("admin", "https://10.201.0.2:6443"))
    assert config["clusters"][0]["cluster"]["server"] == "https://10.201.0.2:6443"
    assert config["users"][0]["name"] == "admin"
    assert config["current-context"] == "elink-test"
