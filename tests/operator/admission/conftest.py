"""An API server with everything of the product that refuses: CRDs, admission policies, the real webhook."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ROOT, ApiServer, program, running
from tests.support.kubectl import eventually
from tests.support.ports import free_port

BASE_DOMAIN = "elink.example"
CHART = ROOT / "charts" / "elink"


def render(template: str, folder: Path) -> list[dict[str, Any]]:
    """One template of the chart as `helm install` would send it; the rest of the chart is left out."""
    chart = folder / f"chart-{Path(template).stem}"
    shutil.rmtree(chart, ignore_errors=True)
    (chart / "templates").mkdir(parents=True)
    for name in ("Chart.yaml", "values.yaml", "templates/_helpers.tpl", f"templates/{template}"):
        shutil.copy(CHART / name, chart / name)
    text = subprocess.run(
        [str(program("helm")), "template", "elink", str(chart), "--namespace", "elink-system"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [document for document in yaml.safe_load_all(text) if document]


@dataclass
class Webhook:
    """The operator's process that serves the webhook; `stop` and `start` play an outage."""

    server: ApiServer
    folder: Path
    port: int
    running: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "operator.log"

    def start(self) -> None:
        """Start and wait until it answers."""
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'operator' / 'src'}:{ROOT}",
            "ELINK_KUBECONFIG": str(self.server.kubeconfig),
            "ELINK_LEADER_ELECTION": "false",
            "ELINK_METRICS_PORT": "0",
            "ELINK_WEBHOOK_PORT": str(self.port),
            "ELINK_WEBHOOK_CERT_DIR": str(self.folder),
            "ELINK_BASE_DOMAIN": BASE_DOMAIN,
            "ELINK_REGIONS": "jp,jp-west",
        }
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.operator.admission.operator_process"],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._answers, timeout=60, what=f"webhook ({self.log})")

    def stop(self) -> None:
        """End the process; nothing listens then."""
        if self.running is not None:
            self.running.terminate()
            try:
                self.running.wait(30)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait()
            self.running = None

    def _answers(self) -> bool:
        assert self.running is not None
        assert self.running.poll() is None, self.log.read_text()[-3000:]
        probe = {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "metadata": {"name": "probe"},
            "spec": {
                "plan": "Shared",
                "displayName": "Probe",
                "masterAccount": {"email": "a@b.example"},
                "server": "no-such-server",
            },
        }
        status, body = self.server.request("POST", "/apis/elink-lc.com/v1/elinktenants?dryRun=All", probe)
        return status == 403 and b"no-such-server does not exist" in body


def _webhook_configurations(server: ApiServer, folder: Path, port: int) -> list[dict[str, Any]]:
    """The chart's configurations, called by URL: there is no Service network here."""
    found = [item for item in render("webhook.yaml", folder) if item["kind"].endswith("WebhookConfiguration")]
    bundle = base64.b64encode(server.ca.read_bytes()).decode()
    for webhook in (webhook for configuration in found for webhook in configuration["webhooks"]):
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
    return found


def wait_for_policies(server: ApiServer) -> None:
    """The API server compiles a new policy within seconds; until then it lets everything through."""
    admin = server.kubectl
    admin.apply(
        {
            "apiVersion": "elink-lc.com/v1",
            "kind": "ElinkTenant",
            "metadata": {"name": "policy-probe"},
            "spec": {"plan": "Shared", "displayName": "Probe", "masterAccount": {"email": "a@b.example"}},
        }
    )
    path = "/apis/elink-lc.com/v1/elinktenants/policy-probe?dryRun=All"
    eventually(lambda: server.request("DELETE", path)[0] in (403, 422), timeout=60, what="admission policies")


@pytest.fixture(scope="package")
def refusing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of its own with CRDs and policies: they would be in the way of other tests."""
    folder = tmp_path_factory.mktemp("admission")
    with running(folder / "api") as server:
        server.install_crds()
        server.install_gateway()
        for document in render("admission-policy.yaml", folder):
            server.kubectl.apply(document)
        wait_for_policies(server)
        yield server


@pytest.fixture(scope="package")
def webhook(refusing: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """The real webhook, called by the API server as the chart says."""
    folder = tmp_path_factory.mktemp("webhook")
    certificate, key = refusing.authority.issue("webhook")
    shutil.copy(certificate, folder / "tls.crt")
    shutil.copy(key, folder / "tls.key")
    hook = Webhook(refusing, folder, free_port())
    for configuration in _webhook_configurations(refusing, folder, hook.port):
        refusing.kubectl.apply(configuration)
    started = time.monotonic()
    try:
        hook.start()
        print(f"webhook ready after {time.monotonic() - started:.1f} s")
        yield hook
    finally:
        hook.stop()
