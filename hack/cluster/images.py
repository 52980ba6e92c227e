"""The images: which there are, where their Dockerfiles are, and the tag that follows from their content."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries, versions
from hack.cluster.config import ROOT

REPOSITORY = "docker.io/elink"
BASE = "docker.io/library/debian:trixie-slim"
_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class Image:
    """One image. `source` is the build context `bin`: the programs that the Dockerfile copies from it.

    `published` is the upstream image that stands in where the cluster can pull (kind); empty for our own.
    """

    name: str
    dockerfile: str
    source: str = ""
    published: str = ""

    @property
    def variable(self) -> str:
        """Its key in `images.env`."""
        return f"{self.name.upper().replace('-', '_')}_IMAGE"


PRODUCT = (
    Image("operator", "operator/Dockerfile"),
    Image("tenant-app", "tenant-app/Dockerfile"),
    Image("postgres", "hack/images/postgres/Dockerfile"),
    Image("backup", "hack/images/backup/Dockerfile"),
    Image("prometheus", "hack/images/prometheus/Dockerfile"),
)
ADDONS = (
    Image("pause", "hack/images/pause/Dockerfile"),
    Image("coredns", "hack/images/coredns/Dockerfile", "coredns"),
    Image("local-path", "hack/images/local-path/Dockerfile", "local-path-provisioner"),
    Image("metrics-server", "hack/images/metrics-server/Dockerfile", "metrics-server",
          f"registry.k8s.io/metrics-server/metrics-server:v{versions.METRICS_SERVER}"),
    Image("traefik", "hack/images/traefik/Dockerfile", "traefik", f"docker.io/library/traefik:v{versions.TRAEFIK}"),
    Image("versitygw", "hack/images/versitygw/Dockerfile", "versitygw",
          f"docker.io/versity/versitygw:v{versions.VERSITYGW}"),
    Image("mailpit", "hack/images/mailpit/Dockerfile", "mailpit", f"docker.io/axllent/mailpit:v{versions.MAILPIT}"),
)  # fmt: skip


def reference(image: Image, root: Path = ROOT, repository: str = REPOSITORY) -> str:
    """The full name: `<repository>/<name>:dev-<12 hex digits of the content>`."""
    return f"{repository}/{image.name}:dev-{content_hash(image, root)}"


def content_hash(image: Image, root: Path = ROOT) -> str:
    """12 hex digits over the Dockerfile, every file it copies from the repository, and the programs' versions.

    Raises `FileNotFoundError` when the Dockerfile copies a path that does not exist.
    """
    dockerfile = root / image.dockerfile
    digest = hashlib.sha256(dockerfile.read_bytes())
    if image.source:
        digest.update(binaries.digest([image.source]).encode())
    for path in sorted(set(_files(dockerfile, root))):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = "x" if os.access(path, os.X_OK) else "-"
        digest.update(f"{path.relative_to(root)} {executable} {content}\n".encode())
    return digest.hexdigest()[:12]


def copied_paths(dockerfile_text: str) -> Iterator[str]:
    """The repository paths that a Dockerfile's COPY and ADD instructions name (stages and named contexts left out)."""
    logical = re.sub(r"\\\n", " ", dockerfile_text)
    for line in logical.splitlines():
        match = re.match(r"\s*(?:COPY|ADD)\s+(.*)", line, re.IGNORECASE)
        if not match:
            continue
        words = shlex.split(match[1])
        if any(word.startswith("--from=") for word in words):
            continue
        *sources, _target = (word for word in words if not word.startswith("--"))
        yield from sources


def _files(dockerfile: Path, root: Path) -> Iterator[Path]:
    for pattern in copied_paths(dockerfile.read_text()):
        found = sorted(root.glob(pattern.lstrip("/").rstrip("/") or "."))
        if not found:
            raise FileNotFoundError(f"{dockerfile.relative_to(root)} copies {pattern}, which does not exist")
        for path in found:
            yield from _below(path)


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix != ".pyc":
            yield path
        return
    for child in sorted(path.iterdir()):
        if child.name not in _IGNORED and not child.is_symlink():
            yield from _below(child)


def environment(references: Mapping[str, str]) -> str:
    """The text of `images.env`: `OPERATOR_IMAGE=…` per line, by image name."""
    known = {image.name: image for image in (*PRODUCT, *ADDONS)}
    return "".join(f"{known[name].variable}={value}\n" for name, value in sorted(references.items()))


def parse_environment(text: str) -> dict[str, str]:
    """`images.env` read back: variable → reference."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
