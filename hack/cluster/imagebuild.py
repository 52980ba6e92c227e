"""Building images: by buildah where there is no Docker daemon and perhaps no registry, by Docker where there is one."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hack.cluster import binaries, versions
from hack.cluster.config import ROOT, cache_dir
from hack.cluster.images import BASE, Image, reference
from hack.cluster.steps import Steps, locked, read, succeeds

_CA_VARIABLES = ("ELINK_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_EXTRA_CA = Path("/usr/local/share/ca-certificates")
_BASE_PACKAGES = "python3,python3-venv,ca-certificates,tzdata"


class Builder(Protocol):
    """Makes images available under their references."""

    def ensure(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build what is missing; returns image name → reference."""
        ...


def ca_bundle(environment: Mapping[str, str] | None = None, extra: Path = _EXTRA_CA) -> Path | None:
    """The CA bundle that builds need on a host behind a TLS-inspecting proxy; None where the world's CAs are enough."""
    environment = os.environ if environment is None else environment
    for variable in _CA_VARIABLES:
        path = Path(environment.get(variable, "") or "/nonexistent")
        if path.is_file():
            return path
    return _SYSTEM_CA if extra.is_dir() and any(extra.glob("*.crt")) else None


def debian_mirror(environment: Mapping[str, str] | None = None) -> str:
    """Where the base image's packages come from: ELINK_DEBIAN_MIRROR, else the mirror that this host's apt uses.

    A host that knows none (Ubuntu, or one whose package lists were removed) asks Debian's own.
    """
    environment = os.environ if environment is None else environment
    if environment.get("ELINK_DEBIAN_MIRROR"):
        return environment["ELINK_DEBIAN_MIRROR"]
    query = ("indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages")
    listed = read("apt-get", *query, check=False) if shutil.which("apt-get") else ""
    for line in listed.splitlines():
        uri, _, origin = line.partition(" ")
        if origin == "Debian Debian":
            return uri
    return "http://deb.debian.org/debian"


def build_arguments(image: Image, name: str, root: Path, ca: Path | None) -> list[str]:
    """The arguments that `buildah build` and `docker build` share; the context is the repository's root."""
    arguments = ["--file", str(root / image.dockerfile), "--tag", name]
    if image.source:
        arguments += ["--build-context", f"bin={binaries.SOURCES[image.source].folder}"]
    if ca is not None:
        arguments += ["--secret", f"id=ca,src={ca}"]
    return [*arguments, str(root)]


@dataclass(frozen=True)
class Docker:
    """`docker build`, for the kind and existing back ends."""

    steps: Steps
    root: Path = ROOT
    repository: str = "docker.io/elink"
    push: bool = False

    def ensure(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build each image whose tag the daemon does not have yet, and push it when asked."""
        names = {}
        for image in wanted:
            name = names[image.name] = reference(image, self.root, self.repository)
            if not succeeds("docker", "image", "inspect", name):
                with self.steps.step(f"Building image {name}", f"image-{image.name}"):
                    arguments = build_arguments(image, name, self.root, ca_bundle())
                    self.steps.run("docker", "build", *arguments, env={"DOCKER_BUILDKIT": "1"})
            if self.push:
                with self.steps.step(f"Pushing {name}", f"image-{image.name}"):
                    self.steps.run("docker", "push", name)
        return names


@dataclass(frozen=True)
class Buildah:
    """buildah with a store of its own in the cache, and an OCI layout there in which images share their layers."""

    steps: Steps
    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """Everything about images in the cache."""
        return cache_dir() / "images"

    @property
    def layout(self) -> Path:
        """The OCI layout that holds every built image."""
        return self.folder / "layout"

    def ensure(self, wanted: Iterable[Image]) -> dict[str, str]:
        """Build each image whose tag is not in the layout yet."""
        names = {image.name: reference(image, self.root) for image in wanted}
        missing = [image for image in wanted if not self._built(names[image.name])]
        if missing:
            with locked(cache_dir() / "locks" / "images", lambda: self.steps.say("  waiting for another image build")):
                self._ensure_base()
                for image in missing:
                    self._build(image, names[image.name])
        return names

    def _buildah(self, *arguments: str | Path) -> None:
        """In a mount namespace of its own: buildah leaves its store mounted on itself otherwise."""
        self.steps.run(
            "unshare", "--mount", "--propagation", "private", "nice", "buildah", "--root", self.folder / "store",
            "--runroot", self.folder / "run", "--storage-driver", "overlay", *arguments,
        )  # fmt: skip

    def _record(self, name: str) -> Path:
        return self.folder / "built" / f"{name.rsplit('/', 1)[1].replace(':', '-')}.json"

    def _built(self, name: str) -> bool:
        return self._record(name).is_file()

    def _build(self, image: Image, name: str) -> None:
        with self.steps.step(f"Building image {name}", f"image-{image.name}"):
            ca = ca_bundle()
            self._buildah("build", "--isolation", "chroot", "--layers", *build_arguments(image, name, self.root, ca))
            record = self._record(name)
            record.parent.mkdir(parents=True, exist_ok=True)
            manifest = record.with_suffix(".digest")
            self._drop_broken_index()
            self._buildah(
                "push", "--disable-compression", "--digestfile", manifest, name, f"oci:{self.layout}:{record.stem}"
            )
            record.with_suffix(".tmp").write_text(json.dumps({"name": name, "digest": manifest.read_text().strip()}))
            record.with_suffix(".tmp").rename(record)
            manifest.unlink()

    def _drop_broken_index(self) -> None:
        """buildah writes the layout's index in place, and refuses every push when a full disk has cut it off.

        Nothing of ours reads it: images are found by the digests in their records.
        """
        index = self.layout / "index.json"
        try:
            json.loads(index.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            index.unlink()

    def _ensure_base(self) -> None:
        """The Debian root that Dockerfiles begin with, under the very name they say."""
        if self.root_has_base():
            return
        archive = self.folder / f"{versions.DEBIAN}.tar"
        with self.steps.step("Making the Debian base image (about a minute)", "image-base"):
            if not archive.is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                partial = archive.with_suffix(".partial.tar")
                partial.unlink(missing_ok=True)
                self.steps.run(
                    "unshare", "--mount", "nice", "mmdebstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}",
                    "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg", versions.DEBIAN, partial,
                    f"deb {debian_mirror()} {versions.DEBIAN} main",
                )  # fmt: skip
                partial.rename(archive)
            scratch = self.folder / "base"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            os.link(archive, scratch / "root.tar")
            (scratch / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["bash"]\n')
            self._buildah("build", "--isolation", "chroot", "--tag", BASE, str(scratch))
            shutil.rmtree(scratch)

    def root_has_base(self) -> bool:
        """Whether the base image is in the store."""
        return succeeds(
            "unshare", "--mount", "--propagation", "private", "buildah", "--root", self.folder / "store",
            "--runroot", self.folder / "run", "--storage-driver", "overlay", "inspect", "--type", "image", BASE,
        )  # fmt: skip

    def archive(self, names: Iterable[str], target: Path) -> None:
        """Write an OCI archive with the images `names`, shared layers once, for `ctr images import`."""
        entries: list[dict[str, Any]] = []
        blobs: set[str] = set()
        for name in names:
            digest = json.loads(self._record(name).read_text())["digest"]
            manifest_bytes = self._blob(digest).read_bytes()
            manifest = json.loads(manifest_bytes)
            blobs |= {digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
            entries.append(
                {
                    "mediaType": manifest["mediaType"],
                    "digest": digest,
                    "size": len(manifest_bytes),
                    "annotations": {"io.containerd.image.name": name},
                }
            )
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        with tarfile.open(target, "w") as tar:
            for member, text in (("oci-layout", '{"imageLayoutVersion": "1.0.0"}'), ("index.json", json.dumps(index))):
                info = tarfile.TarInfo(member)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
            for digest in sorted(blobs):
                tar.add(self._blob(digest), arcname=f"blobs/{digest.replace(':', '/')}")

    def _blob(self, digest: str) -> Path:
        return self.layout / "blobs" / digest.replace(":", "/")


def show(names: Mapping[str, str]) -> None:
    """Print the references."""
    for name, value in sorted(names.items()):
        print(f"  {name:16} {value}", file=sys.stdout)
