"""Chromium (Debian's) driven by Playwright against the test cluster, the gateway's certificate checked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

from tests.support.live import Live

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser and the cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def live() -> Live:
    """The running cluster."""
    return Live.find(ROOT, os.environ.get("ELINK_CLUSTER", "test"))


@pytest.fixture
def browser(live: Live, tmp_path: Path) -> Iterator[BrowserContext]:
    """A fresh profile that trusts the cluster's CA through its own NSS database, and ignores no certificate error."""
    nss = tmp_path / ".pki" / "nssdb"
    nss.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "elink", "-i", str(live.ca)]):
        subprocess.run(["certutil", "-d", f"sql:{nss}", *arguments], check=True, capture_output=True)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path="/usr/bin/chromium",
            headless=True,
            args=CHROMIUM_FLAGS,
            ignore_https_errors=False,
            locale="ja-JP",
            env={**os.environ, "HOME": str(tmp_path)},
        )
        context.set_default_timeout(20_000)
        yield context
        context.close()
