"""Where the API server is and how to prove who we are: the pod's service account, or a kubeconfig."""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import yaml
from yarl import URL

from elink_operator import __version__
from elink_operator.trust import client_context

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_AGE: Final = 60.0
"""Seconds after which a mounted token is read again; the kubelet replaces it long before it expires."""

TokenSource = Callable[[], str | None]


class FileToken:
    """A bearer token in a file, read again every minute and after each refusal."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token: str | None = None
        self._read_at = float("-inf")

    def __call__(self) -> str | None:
        if self._token is None or self._clock() - self._read_at > _TOKEN_AGE:
            self._token = self._path.read_text(encoding="ascii").strip()
            self._read_at = self._clock()
        return self._token

    def refused(self) -> None:
        """Read the file at the next use: the server did not accept the token."""
        self._token = None


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server: base URL without a trailing slash, TLS context (None for plain HTTP), token source."""

    server: str
    tls: ssl.SSLContext | None = None
    token: TokenSource | None = None

    def __post_init__(self) -> None:
        if self.server.startswith("https://") and self.tls is None:
            raise ValueError("https without a TLS context would not check the server's certificate")

    def session(
        self,
        *,
        limit: int,
        connect_timeout: float,
        total_timeout: float | None = None,
        trace: aiohttp.TraceConfig | None = None,
    ) -> aiohttp.ClientSession:
        """A session with at most `limit` connections (0 = no limit) that adds the token itself."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=self.tls or False, keepalive_timeout=60),
            headers={"User-Agent": f"elink-operator/{__version__}", "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=total_timeout, sock_connect=connect_timeout),
            middlewares=() if self.token is None else (self._authorize,),
            trace_configs=[] if trace is None else [trace],
            # A redirect or a proxy from the environment could carry the token elsewhere.
            trust_env=False,
        )

    async def _authorize(
        self,
        request: aiohttp.ClientRequest,
        send: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        token = self.token() if self.token is not None and _same_host(self.server, request.url) else None
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        response = await send(request)
        if response.status == 401 and isinstance(self.token, FileToken):
            self.token.refused()
        return response


def _same_host(server: str, url: URL) -> bool:
    return urlsplit(server).hostname == url.host


def connect(kubeconfig: str, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of this process; a kubeconfig path is for development and tests.

    Raises FileNotFoundError outside a pod when no kubeconfig is given.
    """
    return from_kubeconfig(kubeconfig) if kubeconfig else in_cluster(service_account)


def in_cluster(folder: Path = SERVICE_ACCOUNT, host: str | None = None, port: str | None = None) -> Connection:
    """The pod's own service account, by the addresses that the kubelet puts into the environment."""
    host = host or os.environ.get("KUBERNETES_SERVICE_HOST") or "kubernetes.default.svc"
    port = port or os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
    token = FileToken(folder / "token")
    token()
    tls = client_context(file=str(folder / "ca.crt"))
    return Connection(f"https://{f'[{host}]' if ':' in host else host}:{port}", tls, token)


def from_kubeconfig(path: str) -> Connection:
    """The current context of a kubeconfig; raises ValueError or LookupError when it makes no sense."""
    config: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    if "exec" in user or "auth-provider" in user:
        return _by_kubernetes_package(path)
    folder = Path(path).parent
    server = str(cluster["server"]).rstrip("/")
    token: TokenSource | None = None
    if "tokenFile" in user:
        token = FileToken(folder / user["tokenFile"])
    elif "token" in user:
        token = partial(str, user["token"])
    return Connection(server, _tls(cluster, user, folder) if server.startswith("https://") else None, token)


def _named(entries: list[Any], name: str) -> Any:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise LookupError(f"the kubeconfig has no entry {name!r}")


def _tls(cluster: Any, user: Any, folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    tls = client_context(pem=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        # The ssl module reads certificates from files only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    return tls


def _pem(section: Any, name: str, folder: Path) -> bytes | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"])
    return (folder / section[name]).read_bytes() if name in section else None


def _by_kubernetes_package(path: str) -> Connection:
    """Exec plugins and the like: the package costs 29 MiB of memory, so it is imported only when needed."""
    from kubernetes import client, config

    settings: Any = client.Configuration()
    load: Any = config.load_kube_config
    load(config_file=path, client_configuration=settings)
    tls = client_context(file=settings.ssl_ca_cert)
    if settings.cert_file and settings.key_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)

    def token() -> str | None:
        header = settings.get_api_key_with_prefix("authorization")
        return str(header).removeprefix("Bearer ") if header else None

    return Connection(str(settings.host).rstrip("/"), tls, token)
