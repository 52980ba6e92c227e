"""Where the API server is and who we are, from a kubeconfig file."""

from __future__ import annotations

import base64
import binascii
import http.client
import importlib
import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the text says what to change."""


@dataclass(frozen=True)
class Access:
    """How to reach the API server. `prefix` is the path of a server behind a proxy, usually empty."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str = ""
    token: str = ""
    token_file: str = ""

    def connect(self) -> http.client.HTTPConnection:
        """Give a connection that is not open yet; the caller sets the read time-out after connecting."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_SECONDS)
        return http.client.HTTPSConnection(self.host, self.port, timeout=CONNECT_SECONDS, context=self.tls)

    def headers(self) -> dict[str, str]:
        # A token file is rotated by its writer, so it is read for every request.
        token = Path(self.token_file).read_text().strip() if self.token_file else self.token
        return {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def load(path: Path) -> Access:
    """Read the current context of the kubeconfig at `path`; relative paths in it are relative to its folder."""
    config = _document(path)
    try:
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"]).get("user") or {} if context.get("user") else {}
        url = urlsplit(cluster["server"])
    except (KeyError, TypeError) as error:
        raise KubeconfigError(f"{path}: no usable current context ({error!r} is missing)") from error
    if unsupported := {"exec", "auth-provider", "username", "as"} & set(user):
        raise KubeconfigError(f"{path}: user has {sorted(unsupported)}; use a client certificate or a token")
    secure = url.scheme == "https"
    return Access(
        host=url.hostname or "",
        port=url.port or (443 if secure else 80),
        tls=_tls(cluster, user, path.parent) if secure else None,
        prefix=url.path.rstrip("/"),
        token=user.get("token", ""),
        token_file=str(path.parent / user["tokenFile"]) if user.get("tokenFile") else "",
    )


def _named(config: Mapping[str, Any], section: str, name: str) -> Any:
    for item in config.get(section) or ():
        if item.get("name") == name:
            return item
    raise KeyError(f"{section}/{name}")


def _document(path: Path) -> Mapping[str, Any]:
    """JSON is read directly; YAML by PyYAML where it is installed, else by kubectl: the standard library has none."""
    try:
        text = path.read_text()
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else _yaml(path, text)
    except ValueError as error:
        raise KubeconfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    return document


def _yaml(path: Path, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        return _yaml_by_kubectl(path)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _yaml_by_kubectl(path: Path) -> Any:
    if not (kubectl := shutil.which("kubectl")):
        raise KubeconfigError(f"{path}: neither PyYAML nor kubectl is here to read YAML; write the kubeconfig as JSON")
    view = [kubectl, "--kubeconfig", str(path), "config", "view", "--raw", "--flatten", "-o", "json"]
    done = subprocess.run(view, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise KubeconfigError(f"{path}: kubectl cannot read it: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    if cluster.get("insecure-skip-tls-verify"):
        raise KubeconfigError("insecure-skip-tls-verify is refused; give the certificate authority")
    if cluster.get("tls-server-name"):
        raise KubeconfigError("tls-server-name is not supported; put the server's address into its certificate")
    try:
        authority = _pem(cluster, "certificate-authority", folder)
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
        if certificate and key:
            with _as_file(certificate + b"\n" + key) as both:
                context.load_cert_chain(both)
    except (OSError, ValueError, binascii.Error) as error:
        raise KubeconfigError(f"certificates: {error}") from error
    return context


def _pem(section: Mapping[str, Any], field: str, folder: Path) -> bytes:
    if data := section.get(f"{field}-data"):
        return base64.b64decode(data, validate=True)
    return (folder / section[field]).read_bytes() if section.get(field) else b""


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    # The ssl module takes private keys from files only; this one is ours alone (mode 0600) and gone at once.
    handle, name = tempfile.mkstemp(prefix="netpol-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield name
    finally:
        Path(name).unlink()
