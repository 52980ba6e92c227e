"""Tags follow content; builders get the same arguments; the archive holds each layer once."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from hack.cluster import images
from hack.cluster.config import ROOT
from hack.cluster.imagebuild import Buildah, build_arguments, ca_bundle, debian_mirror
from hack.cluster.images import ADDONS, PRODUCT, Image
from hack.cluster.steps import Steps

TOY = Image("toy", "toy/Dockerfile")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one image."""
    (tmp_path / "toy" / "src").mkdir(parents=True)
    (tmp_path / "toy" / "src" / "main.py").write_text("1")
    (tmp_path / "lock").write_text("a==1")
    (tmp_path / "toy" / "Dockerfile").write_text("FROM x AS y\nCOPY lock /l\nCOPY --from=y /z /z\nCOPY toy/src /s\n")
    return tmp_path


def test_the_tag_follows_what_the_dockerfile_copies(root: Path) -> None:
    before = images.reference(TOY, root)
    assert before.startswith("docker.io/elink/toy:dev-")
    assert images.reference(TOY, root) == before
    (root / "unrelated").write_text("x")
    (root / "toy" / "src" / "__pycache__").mkdir()
    (root / "toy" / "src" / "__pycache__" / "main.cpython.pyc").write_text("x")
    assert images.reference(TOY, root) == before
    seen = {before}
    for change in (
        lambda: (root / "toy" / "src" / "main.py").write_text("2"),
        lambda: (root / "toy" / "src" / "new.py").write_text("1"),
        lambda: (root / "lock").write_text("a==2"),
        lambda: (root / "lock").chmod(0o755),
        lambda: (root / "toy" / "Dockerfile").write_text("FROM x\nCOPY lock toy/src /s/\n"),
    ):
        change()
        seen.add(images.reference(TOY, root))
    assert len(seen) == 6


def test_a_copied_path_that_is_missing_is_told(root: Path) -> None:
    (root / "lock").unlink()
    with pytest.raises(FileNotFoundError, match="toy/Dockerfile copies lock"):
        images.content_hash(TOY, root)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("COPY a b /c/", ["a", "b"]),
        ("copy --chmod=755 a /c", ["a"]),
        ("ADD a \\\n  b /c/", ["a", "b"]),
        ("COPY --from=bin a /c", []),
        ("RUN echo COPY a b\n# COPY c d", []),
    ],
)
def test_copied_paths(text: str, paths: list[str]) -> None:
    assert list(images.copied_paths(text)) == paths


@pytest.mark.parametrize("image", [*PRODUCT, *ADDONS], ids=lambda image: image.name)
def test_every_listed_image_has_its_inputs(image: Image) -> None:
    assert len(images.content_hash(image)) == 12


def test_the_build_context_lets_every_input_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for image in (*PRODUCT, *ADDONS):
        for path in images.copied_paths((ROOT / image.dockerfile).read_text()):
            assert any(path == entry or path.startswith(f"{entry}/") for entry in allowed), (image.name, path)


def test_images_env_reads_back() -> None:
    text = images.environment({"tenant-app": "r/tenant-app:1", "operator": "r/operator:2"})
    assert text == "OPERATOR_IMAGE=r/operator:2\nTENANT_APP_IMAGE=r/tenant-app:1\n"
    assert images.parse_environment(text) == {"OPERATOR_IMAGE": "r/operator:2", "TENANT_APP_IMAGE": "r/tenant-app:1"}


def test_build_arguments(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELINK_CACHE", "/cache")
    plain = build_arguments(TOY, "r/toy:1", root, None)
    assert plain == ["--file", f"{root}/toy/Dockerfile", "--tag", "r/toy:1", str(root)]
    full = build_arguments(Image("t", "toy/Dockerfile", "traefik"), "r/t:1", root, Path("/ca.pem"))
    assert any(part.startswith("bin=/cache/programs/traefik-") for part in full)
    assert full[full.index("--secret") + 1] == "id=ca,src=/ca.pem"


def test_the_host_ca_is_a_build_secret_only_where_there_is_one(tmp_path: Path) -> None:
    bundle, empty, extra = tmp_path / "ca.pem", tmp_path / "empty", tmp_path / "extra"
    bundle.write_text("x")
    empty.mkdir()
    extra.mkdir()
    (extra / "proxy.crt").write_text("x")
    assert ca_bundle({}, empty) is None
    assert ca_bundle({"PIP_CERT": str(bundle)}, empty) == bundle
    assert ca_bundle({"PIP_CERT": "/gone"}, empty) is None
    assert ca_bundle({}, extra) == Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize(
    ("listed", "mirror"),
    [
        ("http://mirror.example/debian Debian Debian", "http://mirror.example/debian"),
        ("http://security.debian.org/debian-security Debian Debian-Security", "http://deb.debian.org/debian"),
        ("http://archive.ubuntu.com/ubuntu Ubuntu Ubuntu", "http://deb.debian.org/debian"),
        ("", "http://deb.debian.org/debian"),
    ],
)
def test_debian_comes_from_the_hosts_mirror_or_from_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, mirror: str
) -> None:
    """A fresh Ubuntu knows no mirror of Debian, a machine whose package lists were removed none at all."""
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\necho '{listed}'\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian_mirror({}) == mirror
    assert debian_mirror({"ELINK_DEBIAN_MIRROR": "http://near.example/debian"}) == "http://near.example/debian"
    (tmp_path / "apt-get").unlink()
    assert debian_mirror({}) == "http://deb.debian.org/debian"


@pytest.mark.parametrize("image", PRODUCT, ids=lambda i: i.name)
def test_what_is_copied_is_readable_whatever_the_umask_of_the_checkout(image: Image) -> None:
    """COPY keeps modes: with umask 027 or 077 the pods' user could read nothing of it."""
    text = re.sub(r"\\\n", " ", (ROOT / image.dockerfile).read_text())
    copied = re.findall(r"^COPY (\S+) (/(?:opt|usr)/\S+)$", text, re.M)
    commands = "\n".join(re.findall(r"^RUN (.*)$", text, re.M))
    for _, target in copied:
        allowed = re.findall(r"chmod (?:-R a\+rX|755) (\S+)", commands)
        assert any(Path(target) == Path(a) or Path(a) in Path(target).parents for a in allowed), target


def _blob(layout: Path, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    file = layout / "blobs" / "sha256" / digest
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def test_the_archive_shares_layers_and_names_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path))
    buildah = Buildah(Steps(tmp_path / "logs"))
    shared = _blob(buildah.layout, b"base layer")
    for name in ("one", "two"):
        manifest = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob(buildah.layout, name.encode()),
            "layers": [shared],
        }
        digest = _blob(buildah.layout, json.dumps(manifest).encode())["digest"]
        record = buildah.folder / "built" / f"{name}-dev-1.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"name": f"r/{name}:dev-1", "digest": digest}))
    target = tmp_path / "archive.tar"
    buildah.archive(["r/one:dev-1", "r/two:dev-1"], target)
    with tarfile.open(target) as tar:
        members = tar.getnames()
        index = tar.extractfile("index.json")
        assert index is not None
        entries = json.load(index)["manifests"]
        assert len(members) == len(set(members)) == 2 + 5
        for member in members:
            content = tar.extractfile(member)
            if member.startswith("blobs/") and content:
                assert hashlib.sha256(content.read()).hexdigest() == member.rsplit("/", 1)[1]
    assert [e["annotations"]["io.containerd.image.name"] for e in entries] == ["r/one:dev-1", "r/two:dev-1"]


@pytest.mark.parametrize(("content", "kept"), [("", False), ('{"schemaVersion": 2, "mani', False), ("{}", True)])
def test_an_index_that_a_full_disk_cut_off_does_not_fail_every_later_build(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, content: str, kept: bool
) -> None:
    """buildah writes it in place, and refuses a layout whose index it cannot read."""
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path / "cache"))
    seen = []

    def push(self: Buildah, *arguments: str | Path) -> None:
        if arguments[0] == "push":
            seen.append((self.layout / "index.json").exists())
            Path(arguments[arguments.index("--digestfile") + 1]).write_text("sha256:0")

    monkeypatch.setattr(Buildah, "_buildah", push)
    monkeypatch.setattr(Buildah, "_ensure_base", lambda _: None)
    monkeypatch.setattr(images, "content_hash", lambda *_: "0")
    buildah = Buildah(Steps(tmp_path / "logs", out=io.StringIO()), root)
    buildah.layout.mkdir(parents=True)
    (buildah.layout / "index.json").write_text(content)
    buildah.ensure([TOY])
    assert seen == [kept]
