"""Debian packages that the native cluster uses. Their services are kept from starting, now and at the next boot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hack.cluster.steps import StepError, Steps, joined, succeeds

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
_POLICY = Path("/usr/sbin/policy-rc.d")
_SERVICES = ("containerd.service",)


def missing(wanted: Mapping[str, str], root: Path = Path("/")) -> list[str]:
    """The packages of `wanted` whose file is not there."""
    return [package for package, file in wanted.items() if not (root / file.lstrip("/")).exists()]


def ensure(steps: Steps) -> None:
    """Install what is missing; nothing is touched when all is there."""
    wanted = missing({**NODE, **BUILD})
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise StepError(
            f"missing programs of {joined(wanted)}, and this is no Debian or Ubuntu",
            advice="Install them by your own package manager, or start Docker: then kind is used.",
        )
    with steps.step(f"Installing Debian packages: {joined(wanted)}", "packages"):
        ours = not _POLICY.exists()
        if ours:
            _POLICY.write_text("#!/bin/sh\n# Written by elink's cluster tool while it installs packages.\nexit 101\n")
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
    steps.run(*apt, "install", "-y", "--no-install-recommends", *wanted, env=environment)
