"""Alert rules: promtool accepts them, each fires when it must and only then, its metrics exist, its runbook too."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import helm
from tests.charts.alert_cases import CASES
from tests.charts.helm import CHART, MONITORING_APIS, ROOT, Obj

RULES = CHART / "files" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
# What is not ours, and who exports it.
FOREIGN = {
    "kubelet_volume_stats_available_bytes": "kubelet",
    "kubelet_volume_stats_capacity_bytes": "kubelet",
    "traefik_tls_certs_not_after": "Traefik",
    "certmanager_certificate_expiration_timestamp_seconds": "cert-manager",
}
_METRIC = re.compile(r"\b((?:elink|workqueue|rest_client|kubelet|traefik|certmanager)_[a-z0-9_]+)")
_SELECTOR = re.compile(r"\b([a-z][a-z0-9_]+)\{([^}]*)\}")


def rules() -> list[Obj]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = shutil.which("promtool")
    assert binary, "promtool is missing: run hack/prerequisites"
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_what_the_chart_makes_of_them(tmp_path: Path) -> None:
    rule = helm.only(helm.template(apis=MONITORING_APIS), "PrometheusRule", "elink")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    assert set(CASES) == {rule["alert"] for rule in rules()}
    for alert, cases in CASES.items():
        assert any(case.firing for case in cases), f"{alert} is never seen firing"
        assert any(not case.firing for case in cases), f"{alert} is never seen quiet"


@pytest.mark.parametrize("alert", CASES)
def test_alert_fires_when_it_must_and_only_then(alert: str, tmp_path: Path) -> None:
    rule = next(rule for rule in rules() if rule["alert"] == alert)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    files = []
    for number, case in enumerate(CASES[alert]):
        expected = []
        for labels in case.firing:
            marks = {"alertname": alert, "alertstate": "firing", **rule["labels"], **labels}
            text = ",".join(f'{name}="{value}"' for name, value in marks.items())
            expected.append({"labels": f"ALERTS{{{text}}}", "value": 1})
        question = {
            "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
            "eval_time": f"{case.at}m",
            "exp_samples": expected,
        }
        test = {
            "interval": f"{case.step}m",
            "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
            "promql_expr_test": [question],
        }
        path = tmp_path / f"case-{number}.yaml"
        content = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{case.step}m", "tests": [test]}
        path.write_text(yaml.safe_dump(content))
        files.append(str(path))
    done = promtool("test", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def exported() -> dict[str, set[str]]:
    """Every series name that operator and app export, with its labels."""
    from elink_app.telemetry.metrics import Metrics as AppMetrics
    from elink_operator.metrics import Metrics as OperatorMetrics

    found: dict[str, set[str]] = {}
    for registry in (OperatorMetrics().registry, AppMetrics().registry):
        for collector in list(registry._collector_to_names):
            names = [n for n in registry._collector_to_names[collector] if not n.endswith("_created")]
            labels = set(getattr(collector, "_labelnames", ()))
            for name in names:
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    for family in business():
        found[family.name] = {label for sample in family.samples for label in sample.labels}
    return found


def business() -> Iterable[Any]:
    """The gauges about customers, collected from one tenant and one server that have everything."""
    from elink_operator.api import ElinkServer, ElinkTenant
    from elink_operator.api.world import World
    from elink_operator.business import BusinessCollector

    now = "2026-01-02T00:00:00Z"
    condition = {"status": "False", "reason": "X", "message": "", "lastTransitionTime": now}
    conditions = [{**condition, "type": name} for name in ("Ready", "Isolated")]
    world = World(base_domain="elink.example.jp", regions=frozenset({"jp"}), default_region="jp")
    world.put_server(
        ElinkServer.parse(
            {"metadata": {"name": "s", "uid": "1"}, "spec": {"tenancy": "Shared"}, "status": {"conditions": conditions}}
        )
    )
    spec = {"plan": "Shared", "displayName": "x", "masterAccount": {"email": "a@example.jp"}}
    world.put_tenant(
        ElinkTenant.parse(
            {
                "metadata": {"name": "t", "uid": "2", "deletionTimestamp": now},
                "spec": {**spec, "state": "Cancelled"},
                "status": {
                    "server": "s",
                    "conditions": conditions,
                    "backup": {"generations": 1, "newest": now},
                    "cancelledAt": now,
                    "eraseAfter": now,
                },
            }
        )
    )
    world.put_tenant(
        ElinkTenant.parse(
            {"metadata": {"name": "u", "uid": "3"}, "spec": spec, "status": {"server": "s", "conditions": conditions}}
        )
    )
    cancelled = {"cancelledAt": now, "eraseAfter": "2026-01-16T00:00:00Z"}
    world.put_tenant(
        ElinkTenant.parse(
            {"metadata": {"name": "v", "uid": "4"}, "spec": {**spec, "state": "Cancelled"}, "status": cancelled}
        )
    )
    collector = BusinessCollector(world, lambda: datetime(2026, 1, 3, tzinfo=UTC), tells_contacts=True)
    return list(collector.collect())


def test_every_metric_exists() -> None:
    known = exported()
    for rule in rules():
        used = set(_METRIC.findall(rule["expr"]))
        assert used, rule["alert"]
        assert used <= set(known) | set(FOREIGN), f"{rule['alert']}: {used - set(known) - set(FOREIGN)}"


def test_every_label_exists() -> None:
    """Labels in selectors; `namespace` and `pod` come from the scrape."""
    known = exported()
    for rule in rules():
        for metric, selector in _SELECTOR.findall(rule["expr"]):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", selector))
            if metric in known:
                assert labels <= known[metric] | {"namespace", "pod"}, f"{rule['alert']}: {metric}{{{selector}}}"


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    alerts = {rule["alert"] for rule in rules()}
    assert {path.stem for path in RUNBOOKS.glob("Elink*.md")} == alerts
    index = (RUNBOOKS / "README.md").read_text()
    for alert in alerts:
        text = (RUNBOOKS / f"{alert}.md").read_text()
        assert text.startswith(f"# {alert}\n")
        for heading in ("## Meaning", "## Impact", "## First look", "## Fix", "## Escalate"):
            assert heading in text, f"{alert}: {heading}"
        assert "```" in text.split("## First look")[1].split("## Fix")[0], f"{alert}: no command to begin with"
        assert f"({alert}.md)" in index, f"{alert} is not in docs/runbooks/README.md"


def test_runbook_url_and_labels_follow_the_values() -> None:
    monitoring = {"runbookBaseURL": "https://runbooks.example.jp/", "alertLabels": {"team": "platform"}}
    rule = helm.only(helm.template({"monitoring": monitoring}, apis=MONITORING_APIS), "PrometheusRule", "elink")
    made = [r for group in rule["spec"]["groups"] for r in group["rules"]]
    assert len(made) == len(rules())
    for alert in made:
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.jp/{alert['alert']}.md"
        assert alert["labels"]["team"] == "platform"
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} < set(alert["annotations"])


def test_one_replica_is_not_called_a_lack_of_redundancy() -> None:
    objects = helm.template({"operator": {"replicas": 1}}, apis=MONITORING_APIS)
    assert "ElinkOperatorNotRedundant" not in str(helm.only(objects, "PrometheusRule", "elink"))
