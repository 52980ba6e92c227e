"""Kubeconfigs in, an authenticated connection out, with real TLS on loopback."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hack.cluster.netpol.kubeconfig import KubeconfigError, load


def certificate(folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = issuer[1] if issuer else key
    made = made.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    ).add_extension(
        x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False), critical=True
    )
    signed = made.sign(signer, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return signed, key


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    authority = certificate(folder, "ca", None)
    certificate(folder, "server", authority)
    certificate(folder, "agent", authority)
    certificate(folder, "stranger", None)
    return folder


@pytest.fixture(scope="module")
def server(pki: Path) -> Iterator[str]:
    """Answers with the common name of the client's certificate and the Authorization header."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            peer: Any = self.connection.getpeercert()
            name = dict(pair for group in peer["subject"] for pair in group)["commonName"] if peer else ""
            body = json.dumps([name, self.headers.get("Authorization")]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.crt", pki / "server.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    web = HTTPServer(("127.0.0.1", 0), Handler)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{web.server_address[1]}"
    web.shutdown()
    web.server_close()


def config(url: str, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "other", "context": {}}, {"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def ask(path: Path) -> Any:
    access = load(path)
    connection = access.connect()
    connection.request("GET", "/", headers=access.headers())
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_client_certificate_inline_in_json(server: str, pki: Path, tmp_path: Path) -> None:
    user = {"client-certificate-data": data(pki / "agent.crt"), "client-key-data": data(pki / "agent.key")}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config(server, {"certificate-authority-data": data(pki / "ca.crt")}, user)))
    assert ask(path) == ["agent", None]


def test_files_relative_to_the_kubeconfig_in_yaml(server: str, pki: Path) -> None:
    user = {"client-certificate": "agent.crt", "client-key": "agent.key"}
    path = pki / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(config(server, {"certificate-authority": "ca.crt"}, user)))
    assert ask(path) == ["agent", None]


def test_token_file_is_read_for_every_request(server: str, pki: Path) -> None:
    path = pki / "token.yaml"
    path.write_text(json.dumps(config(server, {"certificate-authority": "ca.crt"}, {"tokenFile": "token"})))
    (pki / "token").write_text("one\n")
    access = load(path)
    assert access.headers()["Authorization"] == "Bearer one"
    (pki / "token").write_text("two\n")
    assert access.headers()["Authorization"] == "Bearer two"
    assert ask(path) == ["", "Bearer two"]


def test_server_of_another_authority_is_refused(server: str, pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config(server, {"certificate-authority": str(pki / "stranger.crt")}, {"token": "t"})))
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(path)


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
        ({"tls-server-name": "x"}, {}, "tls-server-name"),
        ({}, {"exec": {}}, "exec"),
        ({"certificate-authority": "absent.crt"}, {}, "certificates"),
        ({"certificate-authority-data": "!"}, {}, "certificates"),
    ],
)
def test_what_is_not_supported_is_said(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], words: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config("https://127.0.0.1:1", cluster, user)))
    with pytest.raises(KubeconfigError, match=words):
        load(path)


@pytest.mark.parametrize("text", ["{}", '{"current-context": "x"}', "[]", "{not json", "a: [1"])
def test_unusable_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(KubeconfigError):
        load(path)
    with pytest.raises(KubeconfigError):
        load(tmp_path / "absent")


def test_yaml_without_pyyaml_asks_kubectl_or_says_what_to_do(tmp_path: Path) -> None:
    """In an interpreter without site packages, with a kubectl that shows what it was asked for."""
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:8001", {}, {"token": "t"})))
    folder = Path(__file__).parents[2] / "hack" / "cluster"
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from pathlib import Path; from netpol.kubeconfig import load\n"
        "print(load(Path(sys.argv[1])).port)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(path)]
    alone = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})
    assert "neither PyYAML nor kubectl" in alone.stderr
    document = json.dumps(config("http://127.0.0.1:8001", {}, {}))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\n[ \"$2\" = '{path}' ] && echo '{document}'\n")
    kubectl.chmod(0o755)
    with_kubectl = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": str(tmp_path)})
    assert with_kubectl.stdout.strip() == "8001"
