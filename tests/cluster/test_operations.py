"""Running the service: backups, resize without restart, scale, faults, two replicas, Prometheus, chart upgrade."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from hack.cluster.binaries import program
from tests.cluster.conftest import shared_tenant
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

ROOT = Path(__file__).resolve().parents[2]
SHARED = "elink-srv-shared-1"
SYSTEM = "elink-system"


def restarts(kubectl: Kubectl, namespace: str) -> dict[str, int]:
    """Restart counts of all pods in a namespace, by pod name."""
    return {
        p["metadata"]["name"]: sum(c["restartCount"] for c in p["status"].get("containerStatuses", []))
        for p in kubectl.items("pods", "-n", namespace, "-l", "elink-lc.com/component in (web,worker,postgres)")
    }


def backup_once(kubectl: Kubectl, tenant: str, number: int) -> None:
    job = f"{tenant}-b{number}"
    kubectl.run("create", "job", "-n", SHARED, job, f"--from=cronjob/backup-{tenant}")
    kubectl.run("wait", "-n", SHARED, f"job/{job}", "--for=condition=Complete", "--timeout=120s")
    kubectl.run("delete", "job", "-n", SHARED, job, "--wait=false")


def test_backup_is_in_the_store_and_seven_stay(live: Live, tenant: str) -> None:
    kubectl = live.kubectl
    for number in range(8):
        backup_once(kubectl, tenant, number)

    def seven() -> bool:
        backup = kubectl.json("get", "et", tenant)["status"].get("backup", {})
        return bool(backup.get("generations") == 7 and backup.get("newest") and backup.get("bytes", 0) > 0)

    eventually(seven, timeout=60, what="status.backup shows seven generations")
    condition = next(
        c for c in kubectl.json("get", "et", tenant)["status"]["conditions"] if c["type"] == "BackupHealthy"
    )
    assert condition["status"] == "True", condition


@pytest.mark.alone
def test_resize_happens_in_place(live: Live) -> None:
    kubectl = live.kubectl
    before = restarts(kubectl, SHARED)
    server = kubectl.json("get", "es", "shared-1")
    was = server["spec"].get("app", {}).get("resources", {})
    limit = {"requests": {"cpu": "30m", "memory": "128Mi"}, "limits": {"memory": "400Mi"}}
    kubectl.run("patch", "es", "shared-1", "--type=merge", "-p", json.dumps({"spec": {"app": {"resources": limit}}}))

    def resized() -> bool:
        pods = kubectl.items("pods", "-n", SHARED, "-l", "elink-lc.com/component=web")
        return all(p["status"]["containerStatuses"][0]["resources"]["limits"].get("memory") == "400Mi" for p in pods)

    try:
        eventually(resized, timeout=60, what="memory limit of every web pod is 400Mi")
        assert restarts(kubectl, SHARED) == before
        pod = live.pod(SHARED, "web")["metadata"]["name"]
        shown = kubectl.exec(
            SHARED,
            pod,
            "python3",
            "-c",
            "import os\nfor p in ('/sys/fs/cgroup/memory.max','/sys/fs/cgroup/memory/memory.limit_in_bytes'):\n"
            "  if os.path.exists(p): print(open(p).read().strip()); break",
        )
        assert shown.strip() == str(400 * 1024 * 1024)
    finally:
        kubectl.run(
            "patch",
            "es",
            "shared-1",
            "--type=json",
            "-p",
            json.dumps([{"op": "replace", "path": "/spec/app/resources", "value": was}]),
        )


@pytest.mark.alone
def test_scale_subresource(live: Live) -> None:
    kubectl = live.kubectl
    was = kubectl.json("get", "es", "shared-1")["spec"]["app"]["replicas"]
    kubectl.run("scale", "es", "shared-1", f"--replicas={was + 1}")
    try:
        eventually(
            lambda: kubectl.json("get", "deploy", "web", "-n", SHARED)["status"].get("readyReplicas") == was + 1,
            timeout=90,
            what="one more web pod",
        )
    finally:
        kubectl.run("scale", "es", "shared-1", f"--replicas={was}")


def leader(kubectl: Kubectl) -> str:
    return str(kubectl.json("get", "lease", "elink-operator", "-n", SYSTEM)["spec"].get("holderIdentity") or "")


@pytest.mark.alone
def test_leader_killed_in_the_middle_of_work_loses_nothing(live: Live) -> None:
    kubectl = live.kubectl
    names = [f"t-kill-{i}" for i in range(4)]
    holder = eventually(lambda: leader(kubectl), timeout=90, what="a leader")
    pods = [
        p["metadata"]["name"]
        for p in kubectl.items("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=elink-operator")
    ]
    assert len(pods) >= 2
    for name in names:
        kubectl.apply(shared_tenant(name))
    victim = next((p for p in pods if p in holder), pods[0])
    kubectl.run("delete", "pod", "-n", SYSTEM, victim, "--grace-period=0", "--force")
    for name in names:
        kubectl.wait_ready("et", name, timeout=120)
    assert victim not in leader(kubectl)
    databases = live.psql(
        "shared-1",
        "postgres",
        "SELECT datname FROM pg_database WHERE datname LIKE 't\\_t\\_kill\\_%' ORDER BY 1",
    )
    assert databases.split() == [n.replace("-", "_").join(["t_", ""]) for n in names]
    for name in names:
        kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}")
    kubectl.run("delete", "et", *names, "--timeout=240s", timeout=260)


@pytest.mark.alone
def test_database_restart_heals_without_a_human(live: Live, tenant: str) -> None:
    kubectl = live.kubectl
    kubectl.run("delete", "pod", "postgres-0", "-n", SHARED, "--wait=false")
    eventually(
        lambda: live.get(f"{tenant}.elink.localhost", "/login")[0] == 200,
        timeout=120,
        what="page after database restart",
    )
    kubectl.wait_ready("es", "shared-1", timeout=120)
    kubectl.wait_ready("et", tenant, timeout=120)


@pytest.mark.alone
def test_webhook_down_locks_nobody(live: Live) -> None:
    """Both operator pods away: a tenant can still be made and deleted; an Active one is still protected."""
    kubectl = live.kubectl
    kubectl.run("scale", "deploy", "elink-operator", "-n", SYSTEM, "--replicas=0")
    try:
        kubectl.run(
            "wait",
            "pod",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/name=elink-operator",
            "--for=delete",
            "--timeout=60s",
        )
        started = time.monotonic()
        kubectl.apply(shared_tenant("t-nohook"))
        assert time.monotonic() - started < 30, "nobody waits for a webhook that is away"
        assert "confirm-erasure" in kubectl.refused("delete", "et", "t-nohook", "--wait=false")
    finally:
        kubectl.run("scale", "deploy", "elink-operator", "-n", SYSTEM, "--replicas=2")
    kubectl.wait_ready("et", "t-nohook", timeout=120)
    kubectl.run("annotate", "et", "t-nohook", "elink-lc.com/confirm-erasure=t-nohook")
    kubectl.run("delete", "et", "t-nohook", "--timeout=180s", timeout=200)


PROMETHEUS = """
global: {scrape_interval: 2s, scrape_timeout: 2s}
scrape_configs:
  - job_name: elink
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: metrics, action: keep}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_label_elink_lc_com_component], target_label: component}
"""


def test_a_real_prometheus_scrapes_operator_and_tenants(live: Live) -> None:
    kubectl = live.kubectl
    namespace = "prom-test"
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"elink-lc.com/role": "monitoring"}},
        }
    )
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus", "namespace": namespace},
            "data": {"prometheus.yml": PROMETHEUS},
        }
    )
    for manifest in prometheus_pod(namespace, live.image("PROMETHEUS")):
        kubectl.apply(manifest)
    try:
        kubectl.run("wait", "-n", namespace, "pod/prometheus", "--for=condition=Ready", "--timeout=90s")

        def ask(query: str) -> list[dict[str, object]]:
            path = f"/api/v1/namespaces/{namespace}/pods/prometheus:9090/proxy/api/v1/query?query={query}"
            found: list[dict[str, object]] = json.loads(kubectl.run("get", "--raw", path))["data"]["result"]
            return found

        for query in (
            'up{namespace="elink-system"}==1',
            'up{namespace="elink-srv-shared-1",component="web"}==1',
            'up{namespace="elink-srv-shared-1",component="worker"}==1',
            "elink_tenants",
            "workqueue_depth",
            'elink_app_registry_connected{namespace="elink-srv-shared-1",component="web"}==1',
            'elink_app_requests_total{namespace="elink-srv-shared-1",component="web"}',
            'elink_app_db_connection_limit{namespace="elink-srv-shared-1",component="web"}>0',
            'elink_app_worker_heartbeat_timestamp_seconds{namespace="elink-srv-shared-1",component="worker"}>0',
        ):
            eventually(lambda q=query: ask(quote(q)), timeout=60, what=query)
    finally:
        kubectl.run("delete", "namespace", namespace, "--wait=false")
        kubectl.run("delete", "clusterrole,clusterrolebinding", "prom-test", "--ignore-not-found")


def prometheus_pod(namespace: str, image: str) -> list[dict[str, object]]:
    """A Prometheus with the right to list pods, nothing else."""
    rbac = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "prom-test"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "prom-test"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "prom-test"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "prometheus", "namespace": namespace},
            "spec": {
                "containers": [
                    {
                        "name": "prometheus",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["prometheus"],
                        "args": ["--config.file=/etc/prom/prometheus.yml", "--storage.tsdb.path=/data"],
                        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}},
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/prom"},
                            {"name": "data", "mountPath": "/data"},
                        ],
                    }
                ],
                "volumes": [{"name": "config", "configMap": {"name": "prometheus"}}, {"name": "data", "emptyDir": {}}],
            },
        },
    ]


@pytest.mark.alone
def test_make_up_again_changes_nothing_and_ends_with_its_table(live: Live) -> None:
    """Also after it was killed half-way: the second command goes on where the first one stopped."""
    kubectl = live.kubectl
    command = ["make", "--no-print-directory", "up", f"CLUSTER_NAME={os.environ.get('ELINK_CLUSTER', 'test')}"]

    def pods() -> dict[str, str]:
        selector = "elink-lc.com/component in (web,worker,postgres)"
        return {p["metadata"]["uid"]: p["status"]["phase"] for p in kubectl.items("pods", "-A", "-l", selector)}

    before, counts = pods(), restarts(kubectl, SHARED)
    assert any(killed_in_helm(kubectl, command) for _ in range(5)), "helm was never seen at work"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "elink-aozora-master" in done.stdout
    assert "https://midori.elink.localhost" in done.stdout
    assert pods() == before
    assert restarts(kubectl, SHARED) == counts


def killed_in_helm(kubectl: Kubectl, command: list[str]) -> bool:
    """Run the command and kill it while its helm is at work, which leaves the release pending; False: too late."""
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert started.stdout is not None
    assert any("Installing chart elink …" in line for line in started.stdout)
    pending = False
    while started.poll() is None and not pending:
        pending = bool(kubectl.items("secret", "-n", SYSTEM, "-l", "owner=helm,status=pending-upgrade"))
    if pending:
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    return pending


def helm(live: Live, *arguments: str) -> str:
    """Run helm against the cluster and return what it prints; the test fails with what it says."""
    done = subprocess.run(
        [str(program("helm")), "--kubeconfig", str(live.state / "kubeconfig"), "-n", SYSTEM, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def previous_chart(folder: Path) -> Path:
    """The chart as of the commit before this one; this commit's own where history is cut off."""
    known = subprocess.run(["git", "rev-parse", "--verify", "-q", "HEAD~1:charts/elink"], cwd=ROOT, check=False)
    commit = "HEAD~1" if known.returncode == 0 else "HEAD"
    archive = subprocess.run(["git", "archive", commit, "charts/elink"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "charts/elink"


@pytest.mark.alone
def test_an_upgrade_of_the_chart_changes_no_tenant_pod(live: Live, tmp_path: Path) -> None:
    """From the previous commit's chart to this one's, the operator started anew: tenants' pods stay as they are."""
    kubectl = live.kubectl

    def workloads() -> dict[str, tuple[str, int]]:
        found = {}
        for namespace in (SHARED, "elink-srv-midori"):
            for kind in ("pods", "deployments", "statefulsets"):
                selector = "elink-lc.com/component in (web,worker,postgres)"
                for o in kubectl.items(kind, "-n", namespace, "-l", selector):
                    meta = o["metadata"]
                    generation = 0 if kind == "pods" else meta["generation"]
                    found[f"{namespace}/{kind}/{meta['name']}"] = (meta["uid"], generation)
        return found

    kubectl.wait_ready("es", "shared-1")
    before = workloads()
    values = ["--values", str(live.state / "values.json"), "--wait", "--timeout", "3m"]
    helm(live, "upgrade", "elink", str(previous_chart(tmp_path)), *values)
    helm(live, "upgrade", "elink", str(ROOT / "charts/elink"), *values)
    kubectl.run("rollout", "restart", "deploy/elink-operator", "-n", SYSTEM)
    kubectl.run("rollout", "status", "deploy/elink-operator", "-n", SYSTEM, "--timeout=120s", timeout=140)
    eventually(lambda: leader(kubectl), timeout=60, what="a leader after the restart")
    time.sleep(15)
    assert workloads() == before


def test_helm_test_passes(live: Live) -> None:
    helm(live, "test", "elink", "--timeout", "120s")
