"""A server whose PostgreSQL others run, on real nodes: encrypted, its certificate checked, by documented rights alone.

The PostgreSQL lies in another namespace, takes nobody without TLS, and listens on a port of its own. A tenant moves
there from an Embedded server, is backed up and drilled there, moves back, and a second one is erased there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import made_tenant
from tests.cluster.test_lifecycle import digest, plant
from tests.cluster.test_move import moved
from tests.cluster.test_operations import ROOT, helm
from tests.cluster.test_restore import restore
from tests.support.certificates import Authority
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

# Alone: a second shared server with room would get tenants of other tests.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(1500)]
OUTSIDE, SERVER, HOST, PORT = "customer-databases", "outside", "pg.customer-databases.svc", 6432
START = f"""
set -eu
initdb -D /tmp/data -U postgres -E UTF8 --locale=C.UTF-8 --auth=reject >/dev/null
printf 'local all postgres trust\\nhostssl all postgres all reject\\nhostssl all all all scram-sha-256\\n' \
    > /tmp/data/pg_hba.conf
install -m 600 /tls/tls.key /tmp/tls.key
exec postgres -D /tmp/data -c port={PORT} -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off \
    -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tmp/tls.key
"""
RIGHTS = """
CREATE ROLE elink_operator LOGIN CREATEDB CREATEROLE PASSWORD '{password}';
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO elink_operator;
"""
LEFT = {"postgres", "elink_registry", "elink_template"}
"""Databases that docs/external-postgresql.md says that a server leaves."""


def outside(live: Live, sql: str, database: str = "postgres") -> str:
    """SQL as the superuser of the PostgreSQL outside."""
    return live.kubectl.exec(
        OUTSIDE, "pg", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
        "-h", "/tmp", "-p", str(PORT), "-U", "postgres", "-d", database, "-c", sql,
    ).strip()  # fmt: skip


def manifests(live: Live, certificate: Path, key: Path) -> str:
    """Namespace, certificate, pod and Service of a PostgreSQL that is none of the operator's."""
    listening = {"name": "pg", "namespace": OUTSIDE}
    tls = {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}
    container = {
        "name": "pg",
        "image": live.image("POSTGRES"),
        "command": ["sh", "-c", START],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(PORT)]}},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
        "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": "pg"}}, {"name": "tmp", "emptyDir": {}}],
    }
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OUTSIDE}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": listening, "stringData": tls},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**listening, "labels": {"app": "pg"}}, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": listening,
            "spec": {"selector": {"app": "pg"}, "ports": [{"port": PORT}]},
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def way_of_the_operator(live: Live) -> dict[str, Any]:
    """The operator's policy as the chart makes it with the documented values, under a name of its own."""
    rendered = helm(
        live, "template", "elink", str(ROOT / "charts/elink"), "--values", str(live.state / "values.json"),
        "--show-only", "templates/networkpolicy.yaml",
        "--set", f"networkPolicy.externalDatabaseNamespaces={{{OUTSIDE}}}",
        "--set", f"networkPolicy.externalDatabasePorts={{{PORT}}}",
    )  # fmt: skip
    policies: list[dict[str, Any]] = list(yaml.safe_load_all(rendered))
    policy = next(one for one in policies if one["metadata"]["name"] == "elink-operator")
    policy["metadata"]["name"] = OUTSIDE
    return policy


@pytest.fixture
def server(live: Live, kubectl: Kubectl, tmp_path: Path) -> Iterator[str]:
    """A Shared server on the PostgreSQL outside, Ready; removed afterwards."""
    authority, password = Authority(tmp_path), secrets.token_hex(16)
    try:
        kubectl.apply(manifests(live, *authority.issue("pg", HOST)))
        kubectl.run("wait", "-n", OUTSIDE, "pod/pg", "--for=condition=Ready", "--timeout=120s", timeout=140)
        outside(live, RIGHTS.format(password=password))
        kubectl.apply(way_of_the_operator(live))
        access = {"host": HOST, "port": str(PORT), "username": "elink_operator", "password": password}
        kubectl.apply({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": SERVER, "namespace": "elink-system"},
            "stringData": {**access, "ca.crt": authority.certificate.read_text()},
        })  # fmt: skip
        kubectl.apply({
            "apiVersion": "elink-lc.com/v1", "kind": "ElinkServer", "metadata": {"name": SERVER},
            "spec": {
                "tenancy": "Shared", "app": {"replicas": 1}, "cordoned": True,
                "database": {"mode": "External", "secretRef": {"name": SERVER}},
            },
        })  # fmt: skip
        kubectl.wait_ready("es", SERVER, timeout=240)
        yield SERVER
    finally:
        if kubectl.items("es", SERVER):
            # Its status says a moment later that the last tenant is gone.
            gone = ("delete", "es", SERVER, "--timeout=240s")
            eventually(lambda: kubectl.run(*gone, timeout=260), timeout=90, what="the server is removed")
        kubectl.run("delete", "secret", SERVER, "-n", "elink-system", "--ignore-not-found")
        kubectl.run("delete", "networkpolicy", OUTSIDE, "-n", "elink-system", "--ignore-not-found")
        kubectl.run("delete", "namespace", OUTSIDE, "--ignore-not-found", "--timeout=120s", timeout=140)


def move(kubectl: Kubectl, tenant: str, to: str) -> None:
    """Move a Shared tenant to another Shared server and look at the result."""
    asked = {"metadata": {"annotations": {"elink-lc.com/move": "true"}}, "spec": {"server": to}}
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps(asked))
    name, status = moved(kubectl, tenant, 600)
    assert (status["phase"], status.get("different", [])) == ("Succeeded", []), status
    kubectl.wait_ready("et", tenant)
    assert kubectl.json("get", "et", tenant)["status"]["server"] == to
    # Deleting the record of a move ends the time for which the old data is kept.
    kubectl.run("delete", "er", name, "--timeout=240s", timeout=260)


def test_a_tenant_moves_to_a_postgresql_of_others_and_back(live: Live, kubectl: Kubectl, server: str) -> None:
    tenant, database = "t-outside", "t_t_outside"
    tables = "SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM address t"
    with made_tenant(live, tenant, server="shared-1"):
        plant(live, database, "外の箱 4c1d90")
        rows, addresses = digest(live, database), live.psql("shared-1", database, tables).strip()
        kubectl.run("patch", "es", server, "--type=merge", "-p", '{"spec":{"cordoned":false}}')
        move(kubectl, tenant, server)
        live.wait_served(f"{tenant}.elink.localhost")
        assert (
            live.psql("shared-1", "postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'").strip() == ""
        )
        assert outside(live, tables, database) == addresses, "to the byte"
        open_ = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
        eventually(lambda: int(outside(live, open_)) > 0, what="sessions of web or worker")
        assert outside(live, f"{open_} AND NOT s.ssl") == "0", "nobody without encryption"
        namespace = f"elink-srv-{server}"
        kubectl.run("create", "job", "-n", namespace, "keep-outside", f"--from=cronjob/backup-{tenant}")
        kubectl.run("wait", "-n", namespace, "job/keep-outside", "--for=condition=Complete", "--timeout=180s")
        kubectl.run("create", "job", "-n", namespace, "keep-server", "--from=cronjob/server-backup")
        kubectl.run("wait", "-n", namespace, "job/keep-server", "--for=condition=Complete", "--timeout=180s")
        drill = restore(kubectl, f"drill-{tenant}", tenant, "Drill")
        assert (drill["phase"], drill.get("different", [])) == ("Succeeded", []), drill
        move(kubectl, tenant, "shared-1")
        assert digest(live, database) == rows, "there and back"
        assert {one for one in databases(live) if not one.startswith("spare_")} == LEFT
        assert live.get(f"{tenant}.elink.localhost", "/login")[0] == 200
    with made_tenant(live, "t-outside-2", server=server):
        assert "t_t_outside_2" in databases(live)
    assert {one for one in databases(live) if not one.startswith("spare_")} == LEFT


def databases(live: Live) -> set[str]:
    """Databases of the PostgreSQL outside that can be entered, templates left out."""
    return set(outside(live, "SELECT datname FROM pg_database WHERE NOT datistemplate").split())
