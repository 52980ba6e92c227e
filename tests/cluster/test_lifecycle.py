"""A tenant's life on the real cluster: made, suspended, cancelled, erased; the neighbour stays as it was."""

from __future__ import annotations

import html
import json

import pytest

from tests.cluster.conftest import shared_tenant
from tests.cluster.searching import SHARED, files_of, files_with, in_postgres
from tests.support.kubectl import Kubectl, eventually
from tests.support.live import Live

SECRET_TEXT = "秘密-planted-7f3a91"


def plant(live: Live, database: str, name: str) -> None:
    """Put a recognisable row into a tenant's address book."""
    live.psql(
        "shared-1",
        database,
        "INSERT INTO address (name, kana, sort_key, search_text, search_grams) "
        f"VALUES ('{name}', 'ヒミツ', '{name}', '{name}', '{{}}')",
    )


def plant_file(live: Live, tenant: str, text: str) -> None:
    """Put a file with a recognisable text into a tenant's directory."""
    script = "import sys; open(f'/var/lib/elink/tenants/{sys.argv[1]}/planted.txt', 'w').write(sys.argv[2])"
    web = live.pod(SHARED, "web")["metadata"]["name"]

    def written() -> bool:
        live.kubectl.exec(SHARED, web, "python3", "-c", script, tenant, text)
        return True

    # The app makes the directory when it hears of the tenant, which may be a moment after Ready.
    eventually(written, what=f"the directory of {tenant}")


def digest(live: Live, database: str, server: str = "shared-1") -> str:
    """A digest over every row of every table of a tenant's database."""
    list_tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"

    def every_table() -> list[str] | None:
        tables = live.psql(server, database, list_tables).split()
        rows = "md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), ''))"
        each = " UNION ALL ".join(f"SELECT '{t}:' || {rows} FROM \"{t}\" t" for t in tables)
        found = live.psql(server, database, each).split()
        # On a busy machine kubectl exec sometimes ends well and without its output.
        return sorted(found) if tables and len(found) == len(tables) else None

    found: list[str] | None = eventually(every_table, timeout=120, what=f"rows of {database}")
    return "|".join(found or [])


def test_examples_are_ready_and_say_where_they_are(live: Live) -> None:
    for name in ("aozora", "midori"):
        status = live.kubectl.json("get", "et", name)["status"]
        conditions = {c["type"]: c for c in status["conditions"]}
        assert conditions["Ready"]["status"] == "True", conditions
        assert status["observedGeneration"] == live.kubectl.json("get", "et", name)["metadata"]["generation"]
        assert status["url"] == f"https://{name}.elink.localhost:{live.https_port}"
    assert live.kubectl.json("get", "et", "midori")["status"]["server"] == "midori"


def test_unknown_host_says_nothing(live: Live) -> None:
    status, _, body = live.get("nobody.elink.localhost", "/login")
    assert status == 404
    assert "aozora" not in body
    assert "midori" not in body


def test_deleting_an_active_tenant_is_refused_with_a_sentence(live: Live) -> None:
    said = live.kubectl.refused("delete", "et", "aozora", "--wait=false")
    assert "confirm-erasure" in said
    assert "deletionTimestamp" not in live.kubectl.json("get", "et", "aozora")["metadata"]


def test_suspended_shows_the_reason_and_keeps_the_data(live: Live, tenant: str) -> None:
    kubectl = live.kubectl
    host = f"{tenant}.elink.localhost"
    plant(live, "t_" + tenant.replace("-", "_"), "残る人")
    reason = f"お支払いの確認ができていないため <{tenant}> &"
    suspended = {"spec": {"state": "Suspended", "stateReason": reason}}
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps(suspended))

    def closed() -> bool:
        status, headers, body = live.get(host, "/login")
        return status == 503 and "retry-after" in headers and "停止" in body and html.escape(reason) in body

    eventually(closed, timeout=90, what="503 page of a suspended tenant")
    kubectl.run("patch", "et", tenant, "--type=merge", "-p", json.dumps({"spec": {"state": "Active"}}))
    eventually(lambda: live.get(host, "/login")[0] == 200, timeout=90, what="page after resume")
    rows = live.psql("shared-1", "t_" + tenant.replace("-", "_"), "SELECT name FROM address")
    assert rows.strip() == "残る人"


def test_cancel_and_delete_leaves_nothing_and_the_neighbour_untouched(live: Live, kubectl: Kubectl) -> None:
    """Names that are prefixes of each other, on purpose: `t-erase` goes, `t-erase-x` and `t-era` stay."""
    victim, neighbours = "t-erase", ["t-erase-x", "t-era"]
    for name in [victim, *neighbours]:
        kubectl.apply(shared_tenant(name))
    for name in [victim, *neighbours]:
        kubectl.wait_ready("et", name)
    for name in [victim, *neighbours]:
        plant(live, "t_" + name.replace("-", "_"), SECRET_TEXT if name == victim else f"隣人 {name}")
        plant_file(live, name, SECRET_TEXT if name == victim else f"隣人 {name}")
        kubectl.run("create", "job", "-n", SHARED, f"last-{name}", f"--from=cronjob/backup-{name}")
    for name in [victim, *neighbours]:
        kubectl.run("wait", "-n", SHARED, f"job/last-{name}", "--for=condition=Complete", "--timeout=120s")
    found = "\n".join(files_of(live, victim))
    assert f"/files/tenants/{victim}/planted.txt" in found, "the search must find what is there"
    assert f"/backups/buckets/elink-{victim}/" in found
    assert files_with(live, SECRET_TEXT) != []
    assert in_postgres(live, "shared-1", SECRET_TEXT) != []
    before = {name: digest(live, "t_" + name.replace("-", "_")) for name in neighbours}
    files_before = {name: files_of(live, name) for name in neighbours}
    assert all(files_before.values())

    assert "confirm-erasure" in kubectl.refused("delete", "et", victim, "--wait=false")
    kubectl.run("patch", "et", victim, "--type=merge", "-p", '{"spec":{"state":"Cancelled"}}')
    eventually(
        lambda: kubectl.json("get", "et", victim)["status"].get("eraseAfter"),
        timeout=60,
        what="eraseAfter of a cancelled tenant",
    )
    kubectl.run("delete", "et", victim, "--timeout=180s", timeout=200)

    database = "t_t_erase"
    assert live.psql("shared-1", "postgres", f"SELECT 1 FROM pg_database WHERE datname='{database}'").strip() == ""
    assert live.psql("shared-1", "postgres", f"SELECT 1 FROM pg_roles WHERE rolname='{database}'").strip() == ""
    assert live.psql("shared-1", "elink_registry", f"SELECT 1 FROM tenant WHERE name='{victim}'").strip() == ""
    for kind in ("secrets", "httproutes", "cronjobs", "jobs", "configmaps", "pods"):
        left = [o["metadata"]["name"] for o in kubectl.items(kind, "-A", "-l", f"elink-lc.com/tenant={victim}")]
        left = [n for n in left if not n.startswith(("erase-", "forget-"))] if kind in {"jobs", "pods"} else left
        assert left == [], f"{kind} left of {victim}: {left}"
    assert not kubectl.items("secret", "-n", "elink-system", f"elink-{victim}-master")
    assert files_of(live, victim) == [], "directory and backups are gone"
    assert files_with(live, SECRET_TEXT) == []
    assert in_postgres(live, "shared-1", SECRET_TEXT) == [], "neither in rows nor in the write-ahead log"
    assert {name: files_of(live, name) for name in neighbours} == files_before
    assert live.get(f"{victim}.elink.localhost", "/login")[0] == 404
    assert {name: digest(live, "t_" + name.replace("-", "_")) for name in neighbours} == before
    for name in neighbours:
        assert live.get(f"{name}.elink.localhost", "/login")[0] == 200
        kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}")
        kubectl.run("delete", "et", name, "--timeout=180s", timeout=200)


def test_dedicated_tenant_goes_with_its_server(live: Live, kubectl: Kubectl) -> None:
    name = "t-own"
    kubectl.apply(
        shared_tenant(
            name,
            plan="Dedicated",
            size={"app": {"replicas": 1}, "database": {"mode": "Embedded", "storage": "1Gi"}},
        )
    )
    kubectl.wait_ready("et", name, timeout=240)
    eventually(lambda: live.get(f"{name}.elink.localhost", "/login")[0] == 200, timeout=90, what="the log-in page")
    volumes = [
        v["metadata"]["name"] for v in kubectl.items("pv") if v["spec"]["claimRef"]["namespace"] == f"elink-srv-{name}"
    ]
    assert volumes
    kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}")
    kubectl.run("delete", "et", name, "--timeout=240s", timeout=260)
    assert not kubectl.items("namespace", f"elink-srv-{name}")
    assert not kubectl.items("es", name)
    assert not [v for v in kubectl.items("pv") if v["metadata"]["name"] in volumes]
    assert live.get(f"{name}.elink.localhost", "/login")[0] == 404


def test_the_longest_name_is_served_backed_up_and_erased(live: Live, kubectl: Kubectl) -> None:
    name = "t-" + "long-" * 12 + "9"
    assert len(name) == 63
    kubectl.apply(shared_tenant(name))
    kubectl.wait_ready("et", name)
    eventually(lambda: live.get(f"{name}.elink.localhost", "/login")[0] == 200, timeout=90, what="the log-in page")
    cronjobs = kubectl.items("cronjob", "-n", SHARED, "-l", f"elink-lc.com/tenant={name}")
    kubectl.run("create", "job", "-n", SHARED, "long", f"--from=cronjob/{cronjobs[0]['metadata']['name']}")
    kubectl.run("wait", "-n", SHARED, "job/long", "--for=condition=Complete", "--timeout=120s")
    kubectl.run("annotate", "et", name, f"elink-lc.com/confirm-erasure={name}")
    kubectl.run("delete", "et", name, "--timeout=180s", timeout=200)
    assert live.get(f"{name}.elink.localhost", "/login")[0] == 404


@pytest.mark.parametrize("kind", ["httproute", "cronjob", "secret"])
def test_drift_of_a_tenants_object_is_repaired(live: Live, tenant: str, kind: str) -> None:
    name = {"httproute": f"tenant-{tenant}", "cronjob": f"backup-{tenant}", "secret": f"tenant-{tenant}"}[kind]
    uid = live.kubectl.json("get", kind, "-n", SHARED, name)["metadata"]["uid"]
    live.kubectl.run("delete", kind, "-n", SHARED, name)

    def back() -> bool:
        found = live.kubectl.items(kind, "-n", SHARED, name)
        return bool(found) and found[0]["metadata"]["uid"] != uid

    eventually(back, timeout=90, what=f"{kind} {name} put back")
    eventually(
        lambda: live.get(f"{tenant}.elink.localhost", "/login")[0] == 200,
        timeout=90,
        what="page after repair",
    )
