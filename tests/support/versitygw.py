"""A real S3 store for tests: versitygw on loopback over a folder, of the version that the bundled cluster runs."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.config import cache_dir
from hack.cluster.steps import Steps
from tests.support.certificates import Authority
from tests.support.ports import free_port

ACCESS, SECRET = "store-admin", "store/admin+secret"
REGION = "ap-northeast-1"


def find_versitygw() -> Path:
    """The program; the first call on a machine takes some minutes."""
    source = binaries.SOURCES["versitygw"]
    if not source.folder.is_dir():
        binaries.ensure(("versitygw",), Steps(cache_dir() / "logs", out=sys.stderr))
    return source.path("versitygw")


@dataclass
class Gateway:
    """One store. `root` holds `buckets` (as tests may look at and damage them), `meta`, `versions`, `iam`, `admin`."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    authority: Authority | None = None
    """Set: it speaks TLS, with a certificate of this authority."""

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> Path:
        """Folder with the administrator's `access-key` and `secret-key`."""
        return self.root / "admin"

    def bucket(self, name: str) -> Path:
        """A bucket on disk."""
        return self.root / "buckets" / name

    def start(self, *arguments: str) -> None:
        """Start it, with further arguments of the program, and wait until it answers."""
        for name in ("buckets", "meta", "versions", "iam", "admin"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.credentials / "access-key").write_text(ACCESS + "\n")
        (self.credentials / "secret-key").write_text(SECRET + "\n")
        if self.authority is not None:
            certificate, key = self.authority.issue("store")
            arguments = (*arguments, "--cert", str(certificate), "--key", str(key))
        log = (self.root / "log").open("ab")
        self.process = subprocess.Popen(
            [find_versitygw(), "--port", f"127.0.0.1:{self.port}", "--region", REGION, "--health", "/health",
             "--iam-dir", str(self.root / "iam"), "--iam-cache-disable", *arguments,
             "posix", "--sidecar", str(self.root / "meta"), "--versioning-dir", str(self.root / "versions"),
             str(self.root / "buckets")],
            env={**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < deadline, (self.root / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            trusted = ssl.create_default_context(cafile=str(self.authority.certificate)) if self.authority else None
            with urllib.request.urlopen(f"{self.url}/health", timeout=2, context=trusted) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def gateway(root: Path, authority: Authority | None = None) -> Iterator[Gateway]:
    """A running store over `root`, which is removed afterwards."""
    made = Gateway(root, free_port(), authority=authority)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)
