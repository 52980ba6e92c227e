"""Keys and certificates by openssl: the cluster's own authorities, its components, and the gateway's wildcard.

Two kinds of authority are kept apart: the one of Kubernetes (components and administrators), and the one whose
certificate `ca.crt` a person may import into a browser. The latter is limited by name to the local domain.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

from hack.cluster.config import BASE_DOMAIN, Cluster
from hack.cluster.steps import Steps, succeeds, write_atomic

_CA_DAYS = 3650
_LEAF_DAYS = 397
_RENEW_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Leaf:
    """One certificate: file stem, subject, names, and the authority that signs it."""

    stem: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()
    authority: str = "kubernetes-ca"
    usage: str = "clientAuth"

    @property
    def subject(self) -> str:
        """OpenSSL's notation."""
        return (f"/O={self.organization}" if self.organization else "") + f"/CN={self.common_name}"


@dataclass
class Pki:
    """The folder of keys; every `ensure_*` makes what is missing or about to expire and leaves the rest."""

    cluster: Cluster
    steps: Steps
    changed: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self.cluster.pki / name

    def ensure_all(self) -> None:
        """All authorities and certificates of a native cluster, and `ca.crt`."""
        self.cluster.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._authority("kubernetes-ca", "elink kubernetes")
        self._authority("front-proxy-ca", "elink front proxy")
        self._service_account_key()
        for leaf in leaves(self.cluster):
            self._leaf(leaf)
        self.ensure_gateway()

    def ensure_gateway(self) -> None:
        """The authority a browser may trust, the wildcard certificate, and `ca.crt`: enough for kind."""
        self.cluster.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        limit = f"critical,permitted;DNS:{BASE_DOMAIN}"
        self._authority("gateway-ca", f"elink {self.cluster.name} gateway", limit)
        self._leaf(
            Leaf(
                "gateway", f"*.{BASE_DOMAIN}", names=(f"DNS:*.{BASE_DOMAIN}", f"DNS:{BASE_DOMAIN}"),
                authority="gateway-ca", usage="serverAuth",
            )
        )  # fmt: skip
        write_atomic(self.cluster.state / "ca.crt", self.path("gateway-ca.crt").read_bytes())

    def kubeconfig(self, stem: str, server: str) -> str:
        """A kubeconfig (JSON is YAML) with the certificate `stem` inside it."""
        name = self.cluster.device
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [
                    {
                        "name": name,
                        "cluster": {"server": server, "certificate-authority-data": self.encoded("kubernetes-ca.crt")},
                    }
                ],
                "users": [
                    {
                        "name": stem,
                        "user": {
                            "client-certificate-data": self.encoded(f"{stem}.crt"),
                            "client-key-data": self.encoded(f"{stem}.key"),
                        },
                    }
                ],
                "contexts": [{"name": name, "context": {"cluster": name, "user": stem}}],
            },
            indent=1,
        )

    def encoded(self, name: str) -> str:
        """A file's content in base64, as Secrets and kubeconfigs want it."""
        return base64.b64encode(self.path(name).read_bytes()).decode()

    def _fresh(self, stem: str, parent: str | None) -> bool:
        certificate, key = self.path(f"{stem}.crt"), self.path(f"{stem}.key")
        if not (certificate.is_file() and key.is_file()):
            return False
        if not succeeds("openssl", "x509", "-in", certificate, "-noout", "-checkend", str(_RENEW_SECONDS)):
            return False
        return parent is None or succeeds("openssl", "verify", "-CAfile", self.path(f"{parent}.crt"), certificate)

    def _key(self, stem: str) -> Path:
        temporary = self.path(f".{stem}.key")
        self.steps.run(
            "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", temporary
        )
        temporary.chmod(0o600)
        return temporary

    def _authority(self, stem: str, common_name: str, constraints: str = "") -> None:
        if self._fresh(stem, None):
            return
        key, certificate = self._key(stem), self.path(f".{stem}.crt")
        extra = ("-addext", f"nameConstraints={constraints}") if constraints else ()
        self.steps.run(
            "openssl", "req", "-x509", "-new", "-key", key, "-out", certificate, "-days", str(_CA_DAYS), "-sha256",
            "-subj", f"/CN={common_name}", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", *extra,
        )  # fmt: skip
        self._publish(stem)

    def _leaf(self, leaf: Leaf) -> None:
        if self._fresh(leaf.stem, leaf.authority):
            return
        key, request = self._key(leaf.stem), self.path(f".{leaf.stem}.csr")
        extensions = self.path(f".{leaf.stem}.ext")
        lines = ["basicConstraints=CA:FALSE", "keyUsage=critical,digitalSignature", f"extendedKeyUsage={leaf.usage}"]
        if leaf.names:
            lines.append(f"subjectAltName={','.join(leaf.names)}")
        extensions.write_text("\n".join(lines) + "\n")
        self.steps.run("openssl", "req", "-new", "-key", key, "-subj", leaf.subject, "-out", request)
        self.steps.run(
            "openssl", "x509", "-req", "-in", request, "-out", self.path(f".{leaf.stem}.crt"), "-sha256",
            "-CA", self.path(f"{leaf.authority}.crt"), "-CAkey", self.path(f"{leaf.authority}.key"), "-CAcreateserial",
            "-days", str(_LEAF_DAYS), "-extfile", extensions,
        )  # fmt: skip
        request.unlink()
        extensions.unlink()
        self._publish(leaf.stem)

    def _publish(self, stem: str) -> None:
        """Put the finished pair in place, the certificate last: it is what marks the pair as complete."""
        self.path(f"{stem}.crt").unlink(missing_ok=True)
        self.path(f".{stem}.key").rename(self.path(f"{stem}.key"))
        self.path(f".{stem}.crt").rename(self.path(f"{stem}.crt"))
        self.changed.append(stem)

    def _service_account_key(self) -> None:
        key, public = self.path("service-accounts.key"), self.path("service-accounts.pub")
        if key.is_file() and public.is_file() and public.stat().st_size:
            return
        if not key.is_file():
            self._key("service-accounts").rename(key)
        temporary = self.path(".service-accounts.pub")
        self.steps.run("openssl", "pkey", "-in", key, "-pubout", "-out", temporary)
        temporary.rename(public)


def leaves(cluster: Cluster) -> list[Leaf]:
    """The certificates of a native cluster's components."""
    node = cluster.device
    own = ("DNS:localhost", "IP:127.0.0.1", f"IP:{cluster.node_ip}")
    service = tuple(
        f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    )
    return [
        Leaf("apiserver", "kube-apiserver", names=(*own, f"IP:{cluster.api_service_ip}", *service), usage="serverAuth"),
        Leaf("apiserver-kubelet", "kube-apiserver-kubelet", "elink:kubelet-api"),
        Leaf("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
        Leaf("admin", "kubernetes-admin", "system:masters"),
        Leaf("controller-manager", "system:kube-controller-manager"),
        Leaf("scheduler", "system:kube-scheduler"),
        Leaf("kubelet", f"system:node:{node}", "system:nodes"),
        Leaf("kubelet-serving", f"system:node:{node}", "system:nodes", (*own, f"DNS:{node}"), usage="serverAuth"),
        Leaf("kube-proxy", "system:kube-proxy"),
        Leaf("netpol", "elink-netpol"),
        Leaf(
            "metrics-server", "metrics-server", names=("DNS:metrics-server.kube-system.svc",), usage="serverAuth",
        ),
    ]  # fmt: skip
