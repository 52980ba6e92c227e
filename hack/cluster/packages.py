"""Debian packages that the native cluster uses. Their services are kept from starting, now and at the next boot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hack.cluster.config import cache_dir
from hack.cluster.steps import StepError, Steps, joined, locked, succeeds

NODE: Mapping[str, str] = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "nftables": "/usr/sbin/nft",
    "iproute2": "/usr/sbin/ip",
    "conntrack": "/usr/sbin/conntrack",
    "iptables": "/usr/sbin/iptables",
    "util-linux": "/usr/bin/nsenter",
    "openssl": "/usr/bin/openssl",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
}
BUILD: Mapping[str, str] = {
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "python3-pip": "/usr/bin/pip3",
}
# Docker's own package containerd.io brings runc and would be removed, and Docker with it, for Debian's.
_ELSEWHERE: Mapping[str, str] = {"runc": "/usr/bin/runc"}
_POLICY = Path("/usr/sbin/policy-rc.d")
_OURS = "# Written by elink"
_SERVICES = ("containerd.service",)


def missing(wanted: Mapping[str, str], root: Path = Path("/")) -> list[str]:
    """The packages of `wanted` whose file is not there."""

    def there(file: str) -> bool:
        return bool(file) and (root / file.lstrip("/")).exists()

    return [package for package, file in wanted.items() if not there(file) and not there(_ELSEWHERE.get(package, ""))]


def ensure(steps: Steps) -> None:
    """Install what is missing; nothing is touched when all is there."""
    wanted = missing({**NODE, **BUILD})
    if not wanted and not _left_behind():
        return
    if wanted and shutil.which("apt-get") is None:
        raise StepError(
            f"missing programs of {joined(wanted)}, and this is no Debian or Ubuntu",
            advice="Install them by your own package manager, or start Docker: then kind is used.",
        )
    with locked(cache_dir() / "locks" / "packages", lambda: steps.say("Waiting for another installation of packages")):
        if _left_behind():
            _POLICY.unlink()
        wanted = missing({**NODE, **BUILD})
        if wanted:
            with steps.step(f"Installing Debian packages: {joined(wanted)}", "packages"):
                _install_stopped(wanted, steps)


def _left_behind() -> bool:
    """Whether an installation that was killed left its policy: no service of any package would start any more."""
    return os.geteuid() == 0 and _POLICY.is_file() and _OURS in _POLICY.read_text(errors="replace")


def _install_stopped(wanted: list[str], steps: Steps) -> None:
    """Install packages whose services do not start."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(f"#!/bin/sh\n{_OURS}'s cluster tool while it installs packages.\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        _install(wanted, steps)
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
    if Path("/run/systemd/system").is_dir() and "containerd" in wanted:
        for service in _SERVICES:
            succeeds("systemctl", "disable", "--now", service)


def _install(wanted: list[str], steps: Steps) -> None:
    if os.geteuid() != 0:
        raise StepError("packages can only be installed by root", advice=f"sudo apt-get install {' '.join(wanted)}")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq")
    steps.run(*apt, "update", env=environment, advice="apt-get update must work: check /etc/apt and the network.")
    steps.run(*apt, "install", "-y", "--no-remove", "--no-install-recommends", *wanted, env=environment)
