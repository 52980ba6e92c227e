"""Which back end is used, and what kind and an existing cluster are told."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hack.cluster import backend, deploy, kind, store
from hack.cluster.config import ROOT, Cluster
from hack.cluster.existing import Existing
from hack.cluster.images import PRODUCT, Image
from hack.cluster.kind import Kind
from hack.cluster.steps import StepError, Steps

# Stands in for docker, kind and kubectl, as no Docker daemon can run here: writes down what it is told.
RECORDER = """#!/bin/sh
echo "$(basename "$0") $*" >>"$RECORD"
case "$(basename "$0") $*" in
  "kind get clusters") cat "$RECORD.clusters" 2>/dev/null ;;
  "kind create cluster"*) echo elink-test >"$RECORD.clusters"; touch "$TEST_KUBECONFIG" ;;
  "kind delete cluster"*) rm -f "$RECORD.clusters" ;;
  "docker image inspect"*) exit 1 ;;
  "docker exec"*) echo '{"images":[{"repoTags":["docker.io/elink/toy:dev-0"]},{"repoTags":null}]}' ;;
  "kubectl "*"get deployment metrics-server"*) exit 1 ;;
  "kubectl "*" apply -f -") cat >>"$RECORD.applied" ;;
  "kubectl config view"*) echo "{}" ;;
esac
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster("test", tmp_path)


@pytest.fixture
def steps(cluster: Cluster) -> Steps:
    cluster.logs.mkdir(parents=True)
    return Steps(cluster.logs, out=io.StringIO())


@pytest.fixture
def record(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the recorders write their command lines."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "kind", "kubectl"):
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)
    file = tmp_path / "record"
    file.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(file))
    monkeypatch.setenv("TEST_KUBECONFIG", str(cluster.kubeconfig))
    return file


@pytest.mark.parametrize(
    ("asked", "recorded", "docker", "chosen"),
    [
        ("", "", True, "kind"),
        ("", "", False, "native"),
        ("", "native", True, "native"),
        ("existing", "", True, "existing"),
        ("kind", "kind", False, "kind"),
        ("native", "nonsense", True, "native"),
        ("", "nonsense", False, "native"),
    ],
)
def test_choice(tmp_path: Path, asked: str, recorded: str, docker: bool, chosen: str) -> None:
    cluster = Cluster("choice", tmp_path)
    if recorded:
        cluster.state.mkdir()
        (cluster.state / "facts.json").write_text(json.dumps({"backend": recorded}))
    assert backend.choose(cluster, {"CLUSTER": asked} if asked else {}, docker) == chosen


def test_a_native_cluster_whose_start_was_interrupted_is_known_without_its_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make up CLUSTER=native`, Ctrl-C, `make down` on a machine with Docker: kind would find nothing to remove."""
    cluster = Cluster("choice", tmp_path)
    monkeypatch.setattr("hack.cluster.sandbox.NETNS", tmp_path)
    (tmp_path / cluster.device).touch()
    assert backend.choose(cluster, {}, True) == "native"


def test_a_machine_without_proc_has_no_native_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac with Docker."""
    monkeypatch.setattr("hack.cluster.processes._PROC", tmp_path / "none")
    assert backend.choose(Cluster("choice", tmp_path), {}, True) == "kind"


@pytest.mark.parametrize(("recorded", "asked"), [("native", "existing"), ("kind", "existing"), ("kind", "native")])
def test_a_cluster_is_not_covered_up_by_another_of_its_name(
    cluster: Cluster, steps: Steps, recorded: str, asked: str
) -> None:
    """Its kubeconfig and notes would be overwritten, and `make down` would not find it."""
    (cluster.state / "facts.json").write_text(json.dumps({"backend": recorded}))
    with pytest.raises(StepError, match=f"'test' is there already and is {recorded}") as caught:
        backend.make(cluster, steps, {"CLUSTER": asked})
    assert "make down CLUSTER_NAME=test" in caught.value.advice
    assert backend.make(cluster, steps, {"CLUSTER": recorded}).name == recorded


def test_an_unknown_back_end_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="one of native, kind, existing"):
        backend.choose(cluster, {"CLUSTER": "minikube"}, True)


def test_kind_maps_the_ports_of_the_contract_to_loopback(cluster: Cluster) -> None:
    (only,) = kind.config(cluster)["nodes"]
    mapped = {(m["hostPort"], m["containerPort"], m["listenAddress"]) for m in only["extraPortMappings"]}
    assert mapped == {(18443, 30443, "127.0.0.1"), (18025, 30025, "127.0.0.1")}
    assert only["labels"]["topology.kubernetes.io/region"] == "jp"


def test_kind_uses_upstream_images_for_what_is_not_ours() -> None:
    assert set(kind.addon_images()) == {"metrics-server", "traefik", "mailpit", "versitygw"}


def test_kind_up_creates_once_and_installs(cluster: Cluster, steps: Steps, record: Path) -> None:
    Kind(cluster, steps).up()
    said = record.read_text()
    assert said.count("kind create cluster --config") == 1
    assert json.loads((cluster.state / "kind.json").read_text())["name"] == "elink-test"
    assert kind.GATEWAY_API_URL in said
    assert "--kubelet-insecure-tls" in said
    applied = Path(f"{record}.applied").read_text()
    assert "docker.io/library/traefik:v" in applied
    assert "docker.io/axllent/mailpit:v" in applied
    assert (cluster.state / "ca.crt").is_file()
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    Kind(cluster, steps).up()
    said = record.read_text()
    assert said.count("kind create cluster") == 1
    assert "kind export kubeconfig --name elink-test" in said


UP = """
import sys
from pathlib import Path
from hack.cluster.config import Cluster
from hack.cluster.kind import Kind
from hack.cluster.steps import Steps
cluster = Cluster("test", Path(sys.argv[1]))
Kind(cluster, Steps(cluster.logs)).up()
"""


def test_kind_makes_a_cluster_again_whose_creation_was_interrupted(
    cluster: Cluster, steps: Steps, record: Path
) -> None:
    """kind lists it as soon as its container is there; it has no kubeconfig to export yet, and never will."""
    interrupted = RECORDER.replace('touch "$TEST_KUBECONFIG"', "kill -9 $PPID").encode()
    program = record.parent / "bin" / "kind"
    program.write_bytes(interrupted)
    killed = subprocess.run([sys.executable, "-c", UP, cluster.root], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert "elink-test" in Path(f"{record}.clusters").read_text()
    program.write_text(RECORDER)
    record.write_text("")
    Kind(cluster, steps).up()
    said = record.read_text()
    assert 0 <= said.find("kind delete cluster --name elink-test") < said.find("kind create cluster")
    record.write_text("")
    Kind(cluster, steps).up()
    assert "kind delete" not in record.read_text(), "a finished one is kept"


@pytest.mark.parametrize(("arguments", "patched"), [("", 1), ("--secure-port", 1), ("--kubelet-insecure-tls", 0)])
def test_kind_finishes_a_metrics_server_that_was_applied_but_not_yet_patched(
    cluster: Cluster, steps: Steps, record: Path, arguments: str, patched: int
) -> None:
    """It would never be ready, and every later `make up` would wait for it in vain."""
    kubectl = record.parent / "bin" / "kubectl"
    answer = f'"kubectl "*"get deployment metrics-server"*) echo "{arguments}" ;;'
    kubectl.write_text(RECORDER.replace('"kubectl "*"get deployment metrics-server"*) exit 1 ;;', answer))
    Kind(cluster, steps).up()
    assert record.read_text().count("patch deployment metrics-server") == patched


def test_kind_up_goes_on_when_the_state_folder_was_removed(cluster: Cluster, record: Path) -> None:
    """A fresh checkout, or `git clean`: the cluster is still there."""
    Path(f"{record}.clusters").write_text("elink-test\n")
    cluster.state.mkdir()
    cluster.kubeconfig.touch()
    Kind(cluster, Steps(cluster.logs, out=io.StringIO())).up()
    assert "kind export kubeconfig --name elink-test" in record.read_text()


def test_kind_builds_and_loads_only_what_the_node_lacks(
    cluster: Cluster, steps: Steps, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys = [Image("toy", "toy/Dockerfile"), Image("new", "new/Dockerfile")]
    monkeypatch.setattr("hack.cluster.imagebuild.reference", lambda i, *_: f"docker.io/elink/{i.name}:dev-0")
    Path(f"{record}.clusters").write_text("elink-test\n")
    names = Kind(cluster, steps).images(toys)
    said = record.read_text()
    assert names == {"toy": "docker.io/elink/toy:dev-0", "new": "docker.io/elink/new:dev-0"}
    assert said.count("docker build --file") == 2
    assert "kind load docker-image docker.io/elink/new:dev-0 --name elink-test" in said
    assert "kind load docker-image docker.io/elink/toy" not in said


def test_kind_down_forgets_everything(cluster: Cluster, steps: Steps, record: Path) -> None:
    Path(f"{record}.clusters").write_text("elink-test\n")
    Kind(cluster, steps).down()
    assert "kind delete cluster --name elink-test" in record.read_text()
    assert not cluster.state.exists()


def test_kind_down_says_what_it_cannot_remove(
    cluster: Cluster, steps: Steps, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of another user, of an earlier `sudo make up`."""
    monkeypatch.setattr("hack.cluster.kind.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(StepError, match=r"\.cluster-test is left"):
        Kind(cluster, steps).down()


def test_image_names_of_a_broken_listing() -> None:
    assert kind.image_names("") == set()
    assert kind.image_names('{"images": []}') == set()


def test_existing_needs_a_kubeconfig(cluster: Cluster, steps: Steps) -> None:
    with pytest.raises(StepError, match="needs KUBECONFIG"):
        Existing(cluster, steps, {}).up()


def test_existing_copies_only_the_current_context(cluster: Cluster, steps: Steps, record: Path) -> None:
    Existing(cluster, steps, {"KUBECONFIG": "/home/me/config"}).up()
    assert "kubectl config view --minify --flatten --raw" in record.read_text()
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0


def test_existing_images_come_from_a_tag_or_a_registry(
    cluster: Cluster, steps: Steps, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged = Existing(cluster, steps, {"IMAGE_TAG": "0.1.0", "IMAGE_PREFIX": "r.example/elink"}).images(PRODUCT)
    assert tagged["operator"] == "r.example/elink/operator:0.1.0"
    assert record.read_text() == "", "published images are not built"
    with pytest.raises(StepError, match="can pull from"):
        Existing(cluster, steps, {}).images(PRODUCT)
    monkeypatch.setattr("hack.cluster.imagebuild.reference", lambda i, _, prefix: f"{prefix}/{i.name}:dev-0")
    built = Existing(cluster, steps, {"IMAGE_PREFIX": "r.example/elink"}).images([Image("toy", "toy/Dockerfile")])
    assert built == {"toy": "r.example/elink/toy:dev-0"}
    assert "docker push r.example/elink/toy:dev-0" in record.read_text()


def test_existing_down_touches_no_cluster(cluster: Cluster, steps: Steps, record: Path) -> None:
    Existing(cluster, steps, {}).down()
    assert record.read_text() == ""
    assert not cluster.state.exists()


def test_chart_values_split_references() -> None:
    names = {image.name: f"docker.io/elink/{image.name}:dev-1" for image in PRODUCT}
    values = deploy.chart_values(names, 18443, bundled=True)
    assert values["externalPort"] == 18443
    assert values["mail"] == {"bounceDomain": "bounces.elink.localhost", "from": "elink@elink.localhost"}
    assert values["image"]["tenantApp"] == {"repository": "docker.io/elink/tenant-app", "tag": "dev-1"}
    local = deploy.chart_values({**names, "operator": "localhost:5000/x/operator:2"}, 443, bundled=False)
    assert local["image"]["operator"] == {"repository": "localhost:5000/x/operator", "tag": "2"}
    assert values["backup"]["store"] == "S3"
    assert set(local) == {"image"}, "a cluster of other people has no port, mail domain or store of ours"


def test_the_stores_log_in_is_made_once_and_for_nobody_else(cluster: Cluster) -> None:
    first = json.loads(store.secret(cluster, "elink-system"))
    assert first["data"] == store.login(cluster) == json.loads(store.secret(cluster, "elink-system"))["data"]
    assert len(base64.b64decode(first["data"]["secret-key"])) >= 32
    assert (cluster.pki / "store.key").stat().st_mode & 0o077 == 0


def test_the_table_shows_how_to_log_in_but_no_link(cluster: Cluster) -> None:
    aozora = {"name": "aozora", "plan": "Shared", "url": "https://aozora.elink.localhost:18443", "email": "a@b.example"}
    rows = [aozora, {**aozora, "name": "midori", "plan": "Dedicated"}]
    text = deploy.table(cluster, rows, bundled=True)
    for part in ("https://aozora.elink.localhost:18443", "a@b.example", "elink-aozora-master", "elink-midori-master",
                 ".cluster-test/ca.crt",
                 "http://127.0.0.1:18025", "make down CLUSTER_NAME=test"):  # fmt: skip
        assert part in text
    assert "setup-url" in text
    assert "token" not in text


def test_the_table_of_an_existing_cluster_promises_nothing_that_only_ours_has(cluster: Cluster) -> None:
    aozora = {"name": "aozora", "plan": "Shared", "url": "https://aozora.elink.example.jp", "email": "a@b.example"}
    text = deploy.table(cluster, [aozora], bundled=False)
    assert "https://aozora.elink.example.jp" in text
    assert "elink-aozora-master" in text
    for part in ("ca.crt", "127.0.0.1", "Remove it all"):
        assert part not in text
    assert "make down CLUSTER_NAME=test" in text
