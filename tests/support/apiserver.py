"""A real kube-apiserver and etcd on loopback, for tests that need the API's semantics but no pods.

RBAC is on, the admission plugins are the default ones. There is no controller manager: nothing is garbage-collected,
and a deleted namespace stays Terminating. Tests keep apart by names, or ask for a server of their own with `running()`.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
import urllib3

from hack.cluster.binaries import bin_dir
from tests.support.certificates import Authority, write_rsa_key
from tests.support.kubectl import Kubectl
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 240
_STOP_SECONDS = 10


def program(name: str) -> Path:
    """The path of a cluster program; fails the test with the command that provides it."""
    path = bin_dir() / name
    if not path.exists():
        pytest.fail(f"{name} is missing: run 'python3 hack/cluster binaries' (about 15 minutes the first time)")
    return path


@dataclass
class _Process:
    """A program with its log; killed by the kernel when the test process dies."""

    name: str
    arguments: list[str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    _sink: IO[bytes] | None = None

    def start(self) -> None:
        self._sink = self.log.open("ab")
        self.running = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(program(self.name)), *self.arguments],
            stdout=self._sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def stop(self, *, kill: bool = False) -> None:
        if self.running is None:
            return
        if kill:
            self.running.kill()
        else:
            self.running.terminate()
        try:
            self.running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None
        if self._sink is not None:
            self._sink.close()

    def has_exited(self) -> bool:
        return self.running is not None and self.running.poll() is not None

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class ApiServer:
    """A running API server. `admin_token` may do everything; `user_token` is user `user`, without any right."""

    folder: Path
    url: str
    ca: Path
    admin_token: str
    user_token: str
    kubeconfig: Path
    user_kubeconfig: Path
    authority: Authority
    _etcd: _Process
    _api: _Process
    _http: urllib3.PoolManager = field(init=False)

    def __post_init__(self) -> None:
        # Kept connections: tests ask many times a second, and a handshake costs both sides more than the answer.
        self._http = urllib3.PoolManager(ca_certs=str(self.ca), timeout=30, retries=False, maxsize=4)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator."""
        return Kubectl(program("kubectl"), self.kubeconfig)

    @property
    def user_kubectl(self) -> Kubectl:
        """kubectl as a user without rights; grant them with RBAC objects for user `user`."""
        return Kubectl(program("kubectl"), self.user_kubeconfig)

    def apply_files(self, *paths: Path) -> None:
        """`kubectl apply --server-side -f` of each file or folder."""
        for path in paths:
            self.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(path))

    def install_crds(self) -> None:
        """The elink resources, established; safe to repeat."""
        self.apply_files(ROOT / "crds")
        self._await_crds()

    def install_gateway(self) -> None:
        """The resources of the Gateway API, established."""
        self.apply_files(program("standard.yaml"))
        self._await_crds()

    def _await_crds(self) -> None:
        """Established means known, not served: for a moment their objects are answered with 404 or 429."""
        self.kubectl.run("wait", "--for=condition=Established", "crd", "--all")
        deadline = time.monotonic() + _START_SECONDS
        for crd in self.kubectl.items("crd"):
            group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
            version = next(one["name"] for one in crd["spec"]["versions"] if one["served"])
            while (status := self.request("GET", f"/apis/{group}/{version}/{plural}?limit=1")[0]) != 200:
                assert time.monotonic() < deadline, f"{plural} are not served: HTTP {status}"
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL the API server; etcd keeps the data."""
        self._api.stop(kill=True)

    def start(self) -> None:
        """Start the API server (again) on the same port and wait until it is ready."""
        self._api.start()
        self._wait_ready()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        """One plain HTTPS request: status and body, also for errors. OSError when the server does not answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self.admin_token}"}
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._http.request(method, self.url + path, body=data, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{method} {path}: {error}") from error
        return answer.status, answer.data

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            for process in (self._etcd, self._api):
                if process.has_exited():
                    raise RuntimeError(f"{process.name} ended at start ({process.log}):\n{process.tail()}")
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(
            f"the API server is not ready after {_START_SECONDS} s ({self._api.log}):\n{self._api.tail()}"
        )


@contextmanager
def running(folder: Path, *api_arguments: str) -> Iterator[ApiServer]:
    """Start etcd and an API server with their state in `folder`; stop both at the end, whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    server = _build(folder, api_arguments)
    try:
        server._etcd.start()
        server.start()
        yield server
    finally:
        server._api.stop(kill=True)
        server._etcd.stop(kill=True)


def _build(folder: Path, api_arguments: tuple[str, ...]) -> ApiServer:
    authority = Authority(folder)
    certificate, key = authority.issue("apiserver")
    signing_key = folder / "service-accounts.key"
    write_rsa_key(signing_key)
    admin_token, user_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{admin_token},admin,admin,"system:masters"\n{user_token},user,user\n')
    tokens.chmod(0o600)
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd = _Process(
        "etcd",
        [
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
        ],
        folder / "etcd.log",
    )
    api = _Process(
        "kube-apiserver",
        [
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={signing_key}",
            f"--service-account-signing-key-file={signing_key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={folder}",
            *api_arguments,
        ],
        folder / "kube-apiserver.log",
    )
    url = f"https://127.0.0.1:{port}"
    return ApiServer(
        folder,
        url,
        authority.certificate,
        admin_token,
        user_token,
        _write_kubeconfig(folder / "kubeconfig", url, authority.certificate, admin_token),
        _write_kubeconfig(folder / "kubeconfig-user", url, authority.certificate, user_token),
        authority,
        etcd,
        api,
    )


def _write_kubeconfig(path: Path, url: str, ca: Path, token: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def apiserver(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    """One API server for the whole run (one per xdist worker); its logs are kept when a test failed."""
    failed_before = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="elink-apiserver-"))
    with running(folder) as server:
        yield server
    if request.session.testsfailed > failed_before:
        print(f"\nlogs of the API server and etcd: {folder}")
    else:
        shutil.rmtree(folder)
