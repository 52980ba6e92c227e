"""What will exist in the cluster, as files that a reviewer reads."""

from typing import Any

import pytest
from elink_operator import labels, naming
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.cluster.kinds import kind_of
from elink_operator.desired import (
    cronjob,
    deployment,
    hpa,
    httproute,
    job,
    namespace,
    networkpolicy,
    pdb,
    quota,
    secret,
    server_backup,
    service,
    statefulset,
    store,
    vault,
    volume,
)
from elink_operator.desired.copied import build_copied_tenant
from elink_operator.desired.inputs import Access, Endpoint, MailLogin, MasterLink, ServerInputs, TenantInputs
from elink_operator.desired.own_restores import build_drill
from elink_operator.desired.restore import RestoreInputs, build_files_job, build_read_job, build_safety_backup
from elink_operator.desired.server import build_dedicated_server
from elink_operator.desired.store import repository_of
from elink_operator.settings import Settings

from tests.operator.api.builders import server, tenant
from tests.operator.desired.conftest import Golden

SETTINGS = Settings(_env_file=None)
LONGEST = "a" * 62 + "z"
ANYWHERE = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"]}},
]
KNOWN = {"external_database_cidrs": ("10.1.2.0/24", "2001:db8::/32"), "external_database_namespaces": ("pg",)}
"""What the platform team says of databases outside of servers."""


def in_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def server_inputs(wanted: ElinkServer, **changes: Any) -> ServerInputs:
    values: dict[str, Any] = {
        "server": wanted,
        "settings": SETTINGS,
        "version": "0.1.0",
        "endpoint": Endpoint(f"postgres.elink-srv-{wanted.name}.svc"),
        "postgres_image": SETTINGS.postgres_image,
        "credentials_hash": "0123456789abcdef",
    }
    return ServerInputs(**{**values, **changes})


def tenant_inputs(wanted: ElinkTenant, home: str = "shared-1", **changes: Any) -> TenantInputs:
    access = Access(Endpoint(f"postgres.elink-srv-{home}.svc"), "elink_operator", "p", "a", "tenant-key")
    values: dict[str, Any] = {
        "tenant": wanted,
        "server": home,
        "settings": SETTINGS,
        "access": access,
        "region": "jp",
        "schema": "0.1.0-01234567",
    }
    return TenantInputs(**{**values, **changes})


def everything_of(inputs: ServerInputs) -> list[dict[str, Any]]:
    objects = [
        namespace.build_namespace(inputs.name),
        namespace.build_service_account(inputs),
        quota.build_resource_quota(inputs),
        quota.build_limit_range(inputs),
        *networkpolicy.build_network_policies(inputs),
        volume.build_files_volume(inputs),
        volume.build_backups_volume(inputs),
        service.build_web_service(inputs),
        pdb.build_pdb(inputs),
        job.build_migrate_job(inputs, inputs.version),
        deployment.build_web(inputs),
        deployment.build_worker(inputs),
    ]
    if inputs.embedded:
        objects += [
            volume.build_postgres_volume(inputs),
            service.build_postgres_service(inputs),
            statefulset.build_postgres(inputs),
        ]
    if inputs.server.spec.app.autoscaling:
        objects.append(hpa.build_hpa(inputs, inputs.server.spec.app.autoscaling))
    return objects


def everything_of_tenant(inputs: TenantInputs) -> list[dict[str, Any]]:
    link = MasterLink("the-token", "2026-07-08T12:00:00Z")
    return [
        secret.build_tenant_secret(inputs),
        secret.build_backup_key(vault.of_tenant(inputs), "the-key", copy=False),
        secret.build_backup_key(vault.of_tenant(inputs), "the-key", copy=True),
        httproute.build_route(inputs),
        cronjob.build_backup(inputs),
        secret.build_master_secret(inputs, link),
        job.build_erase_job(SETTINGS, inputs.server, inputs.region, inputs.name, inputs.tenant.metadata.uid),
    ]


def test_shared_server(golden: Golden) -> None:
    golden.check("server-shared", everything_of(server_inputs(server())))


def test_server_that_takes_bounces(golden: Golden) -> None:
    inputs = server_inputs(server(), settings=Settings(_env_file=None, bounce_domain="bounces.example.jp"))
    added = [
        policy
        for policy in networkpolicy.build_network_policies(inputs)
        if policy not in networkpolicy.build_network_policies(server_inputs(server()))
    ]
    golden.check("server-bounces", [service.build_inbound_service(inputs), deployment.build_worker(inputs), *added])


def test_server_with_a_log_in_at_the_relay(golden: Golden) -> None:
    settings = Settings(_env_file=None, mail_tls="starttls", mail_login_secret="mail-relay")
    login = MailLogin("elink", "relay-password").keyed("key of the server")
    inputs = server_inputs(server(), settings=settings, mail_login=login)
    made = [secret.build_mail_login(inputs, login), deployment.build_web(inputs), deployment.build_worker(inputs)]
    golden.check("server-mail-login", made)
    assert "relay-password" not in repr(made[1:])
    assert "relay-password" not in repr(inputs)
    another = MailLogin("elink", "another").keyed("key of the server")
    other = server_inputs(server(), settings=settings, mail_login=another)
    assert deployment.build_worker(other) != deployment.build_worker(inputs)


def test_server_that_trusts_the_relays_own_authority(golden: Golden) -> None:
    settings = Settings(_env_file=None, mail_tls="starttls", mail_ca_file="/etc/elink/mail-ca/ca.crt")
    inputs = server_inputs(server(), settings=settings, mail_authority="PEM")
    made = [secret.build_mail_authority(inputs), deployment.build_web(inputs), deployment.build_worker(inputs)]
    golden.check("server-mail-authority", made)
    # Another authority is another file in the same pods.
    other = server_inputs(server(), settings=settings, mail_authority="PEM 2")
    assert deployment.build_worker(other) == deployment.build_worker(inputs)


def test_a_pace_per_recipient_domain_is_the_workers_alone() -> None:
    inputs = server_inputs(server(), settings=Settings(_env_file=None, mail_domain_per_minute=600))
    plain = server_inputs(server())
    worker = deployment.build_worker(inputs)["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "ELINK_DOMAIN_MAILS_PER_MINUTE", "value": "600"} in worker["env"]
    web = deployment.build_web(inputs)["spec"]["template"]["spec"]
    assert web == deployment.build_web(plain)["spec"]["template"]["spec"]


def test_external_database_and_autoscaling(golden: Golden) -> None:
    wanted = server(
        "big",
        app={"autoscaling": {"min": 3, "max": 9, "targetCPU": 60}},
        database={"mode": "External", "secretRef": {"name": "big-database"}},
        files={"size": "1Ti", "storageClassName": "fast", "accessMode": "ReadWriteMany"},
    )
    golden.check("server-external", everything_of(server_inputs(wanted, endpoint=Endpoint("db.example.jp", 6432))))


def test_external_database_whose_certificate_is_checked(golden: Golden) -> None:
    wanted = server("big", database={"mode": "External", "secretRef": {"name": "big-database"}})
    endpoint = Endpoint("db.example.jp", 6432, "verify-full", "PEM")
    inputs = server_inputs(wanted, endpoint=endpoint)
    access = Access(endpoint, "elink_operator", "p", "a", "tenant-key")
    of_tenant = tenant_inputs(tenant(), "big", access=access)
    leaver = server_backup.Leaver("aozora", "uid", "request")
    pods = [
        job.build_migrate_job(inputs, inputs.version),
        deployment.build_web(inputs),
        cronjob.build_backup(of_tenant),
        build_read_job(
            RestoreInputs(a_restore("InPlace"), tenant(), of_tenant, inputs, repository_of("acme", SETTINGS)), 1
        ),
        server_backup.build_server_backup(inputs),
        server_backup.build_forget_job(SETTINGS, wanted, "jp", endpoint, [leaver]),
    ]
    golden.check("server-external-tls", pods)
    for one in pods:
        containers = database_clients(one)
        assert containers
        for container in containers:
            told = {entry["name"]: entry.get("value") for entry in container["env"]}
            assert told["PGSSLMODE"] == "verify-full"
            assert told["PGSSLROOTCERT"] == "/run/secrets/elink/ca.crt"
    assert "PEM" not in repr(pods), "only its place"
    plain = server_inputs(wanted, endpoint=Endpoint("db.example.jp", 6432))
    assert deployment.build_web(plain) != deployment.build_web(inputs)


def database_clients(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a workload that are told a database's log-in."""
    spec = workload["spec"].get("jobTemplate", workload)["spec"]["template"]["spec"]
    return [
        container
        for container in [*spec.get("initContainers", []), *spec["containers"]]
        if any(mount["mountPath"] == "/run/secrets/elink" for mount in container["volumeMounts"])
    ]


def test_dedicated_server_of_a_suspended_tenant(golden: Golden) -> None:
    inputs = server_inputs(server("midori", tenancy="Dedicated"), worker_stopped=True)
    golden.check("worker-stopped", [deployment.build_worker(inputs)])


def test_shared_tenant(golden: Golden) -> None:
    golden.check("tenant-shared", everything_of_tenant(tenant_inputs(tenant())))


IN_BUCKETS = Settings(
    _env_file=None,
    backup_store="S3",
    backup_s3_endpoint="https://store.elink-backup-store.svc:7070",
    backup_s3_accounts="versitygw",
    backup_s3_credentials_dir="/etc/elink/backup-store",
    backup_s3_ca_file="/etc/elink/backup-store-ca/ca.crt",
)


def test_backups_in_a_bucket(golden: Golden) -> None:
    inputs = tenant_inputs(tenant(), settings=IN_BUCKETS)
    on_server = server_inputs(server(), settings=IN_BUCKETS)
    added = [
        policy
        for policy in networkpolicy.build_network_policies(on_server)
        if policy not in networkpolicy.build_network_policies(server_inputs(server()))
    ]
    objects = [
        cronjob.build_backup(inputs),
        secret.build_store_secret(vault.of_tenant(inputs), "elink-acme", "the-password", "the-authority"),
        job.build_erase_job(IN_BUCKETS, "shared-1", "jp", "acme", "uid-acme", backups=False),
        *added,
    ]
    golden.check("tenant-bucket", objects)
    specs = str([spec for _, spec in pod_specs(objects)])
    assert "backups" not in specs
    assert "the-password" not in specs


LEAVERS = [
    server_backup.Leaver("beta", "uid-beta", "uid-of-a-move"),
    server_backup.Leaver("acme", "uid-acme", "uid-acme"),
]


def test_a_forget_job_says_whom_it_takes_out_and_for_what() -> None:
    inputs = server_inputs(server())
    made = server_backup.build_forget_job(SETTINGS, inputs.server, "jp", inputs.endpoint, LEAVERS)
    assert server_backup.forgotten_by(made) == {"uid-acme": "acme", "uid-of-a-move": "beta"}
    assert server_backup.build_forget_job(SETTINGS, inputs.server, "jp", inputs.endpoint, LEAVERS[::-1]) == made
    other = [*LEAVERS[:1], server_backup.Leaver("acme", "uid-acme", "uid-of-another-move")]
    assert (
        server_backup.build_forget_job(SETTINGS, inputs.server, "jp", inputs.endpoint, other)["metadata"]
        != made["metadata"]
    )
    assert server_backup.forgotten_by(server_backup.build_server_backup(inputs)) == {}
    for broken in ("", "[]", "x", "1"):
        assert server_backup.forgotten_by({"metadata": {"annotations": {labels.FORGETS: broken}}}) == {}


def test_backups_of_a_servers_own_data(golden: Golden) -> None:
    made = []
    for settings in (SETTINGS, IN_BUCKETS):
        inputs = server_inputs(server(), settings=settings)
        made += [
            server_backup.build_server_backup(inputs),
            server_backup.build_forget_job(settings, inputs.server, "jp", inputs.endpoint, LEAVERS),
        ]
    access = tenant_inputs(tenant()).access
    mine = vault.of_server(server_inputs(server()))
    secrets = [
        secret.build_server_backup_login(server_inputs(server()), access),
        secret.build_backup_key(mine, "the-key", copy=False),
        secret.build_backup_key(mine, "the-key", copy=True),
        secret.build_store_secret(mine, mine.place.bucket, "the-password", ""),
    ]
    golden.check("server-backup", [*made, *secrets])
    assert access.backup_password not in str(made)
    assert "t_acme" not in str(made)
    for obj in made:
        assert len(obj["metadata"]["name"]) <= 52


@pytest.mark.parametrize("name", ["a", "shared-1", "a" * 39, "a" * 40, LONGEST])
def test_a_servers_bucket_is_no_tenants(name: str) -> None:
    longest_prefix = "p" * 23
    bucket = naming.server_bucket(longest_prefix, name)
    assert len(bucket) <= 63
    assert not naming.is_valid_name(bucket.removeprefix(longest_prefix))
    assert naming.server_bucket("", "a" * 40) != naming.server_bucket("", "a" * 41)


@pytest.mark.parametrize(
    ("changes", "peers", "port"),
    [
        ({}, [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elink-backup-store"}}}], 7070),
        ({"backup_s3_endpoint": "http://10.1.2.3"}, [{"ipBlock": {"cidr": "10.1.2.3/32"}}], 80),
        (
            {"backup_s3_endpoint": "https://s3.example.jp"},
            ANYWHERE,
            443,
        ),
        (
            {"backup_s3_endpoint": "https://s3.example.jp", "backup_s3_cidrs": ("198.51.100.0/24", "2001:db8::/32")},
            [{"ipBlock": {"cidr": "198.51.100.0/24"}}, {"ipBlock": {"cidr": "2001:db8::/32"}}],
            443,
        ),
    ],
)
def test_only_backup_pods_reach_the_object_store(
    changes: dict[str, Any], peers: list[dict[str, Any]], port: int
) -> None:
    settings = IN_BUCKETS.model_copy(update=changes)
    policies = networkpolicy.build_network_policies(server_inputs(server(), settings=settings))
    (policy,) = [p for p in policies if p["metadata"]["name"] == "allow-backup-store"]
    assert policy["spec"]["podSelector"] == {"matchLabels": {"elink-lc.com/component": "backup"}}
    assert policy["spec"]["egress"] == [{"to": peers, "ports": [{"protocol": "TCP", "port": port}]}]


def test_who_can_reach_what_in_the_store() -> None:
    assert store.reachable_from(SETTINGS, "shared-1", "shared-1")
    assert not store.reachable_from(SETTINGS, "shared-1", "shared-2")
    assert store.reachable_from(IN_BUCKETS, "shared-1", "shared-2")


def test_tenant_with_everything(golden: Golden) -> None:
    wanted = tenant(
        LONGEST,
        displayName="株式会社みどり 🌿",
        host="book.midori.co.jp",
        backup={"schedule": "15 3 * * *", "generations": 30},
    )
    golden.check("tenant-everything", everything_of_tenant(tenant_inputs(wanted, home=LONGEST)))


def test_dedicated_tenant_makes_its_server(golden: Golden) -> None:
    wanted = tenant("midori", plan="Dedicated", size={"app": {"replicas": 1}, "database": {"storage": "5Gi"}})
    golden.check("dedicated-server", [build_dedicated_server(wanted, "jp")])


def a_restore(mode: str, **spec: Any) -> ElinkRestore:
    return ElinkRestore.parse(
        {"metadata": {"name": "back", "uid": "uid-back"}, "spec": {"tenant": "acme", "mode": mode, **spec}}
    )


def restore_inputs(wanted: ElinkRestore, target: str = "acme") -> RestoreInputs:
    inputs = tenant_inputs(tenant(target), maintenance=True)
    return RestoreInputs(wanted, tenant(), inputs, server_inputs(server()), repository_of("acme", SETTINGS))


def everything_of_a_restore() -> list[dict[str, Any]]:
    inputs = restore_inputs(a_restore("InPlace", generation="20260131T170000Z"))
    return [
        build_safety_backup(inputs),
        build_read_job(inputs, 1),
        build_files_job(inputs, "switch"),
        build_files_job(inputs, "return"),
        build_files_job(inputs, "clear-restore"),
        build_files_job(inputs, "clear-kept"),
    ]


def test_restore_in_place(golden: Golden) -> None:
    golden.check("restore-in-place", everything_of_a_restore())


def test_drill(golden: Golden) -> None:
    golden.check(
        "restore-drill", [build_drill("acme", "20260701"), build_read_job(restore_inputs(a_restore("Drill")), 2)]
    )


def test_restore_as_new(golden: Golden) -> None:
    wanted = a_restore("AsNew", asNew={"tenant": "acme-copy"})
    source = tenant(
        displayName="あ" * 199,
        host="book.acme.co.jp",
        state="Suspended",
        stateReason="unpaid",
        backup={"schedule": "15 3 * * *", "generations": 30},
        contacts={"emails": ["a@b.example"]},
    )
    inputs = restore_inputs(wanted, "acme-copy")
    golden.check("restore-as-new", [build_copied_tenant(source, wanted, "shared-1"), build_read_job(inputs, 1)])


def test_a_tenant_in_maintenance_begins_no_backup() -> None:
    assert cronjob.build_backup(tenant_inputs(tenant(), maintenance=True))["spec"]["suspend"] is True
    assert cronjob.build_backup(tenant_inputs(tenant()))["spec"]["suspend"] is False


def test_only_the_container_that_reads_the_store_sees_its_key() -> None:
    spec = build_read_job(restore_inputs(a_restore("InPlace")), 1)["spec"]["template"]["spec"]
    volumes = {v["name"]: v for v in spec["volumes"]}
    key = {name for name, v in volumes.items() if "repository-key" in str(v)}
    seen = {c["name"]: {m["name"] for m in c["volumeMounts"]} for c in [*spec["initContainers"], *spec["containers"]]}
    assert [name for name, mounts in seen.items() if mounts & key] == ["restore"]
    assert [name for name, mounts in seen.items() if "backups" in mounts] == ["restore"]
    assert [name for name, mounts in seen.items() if "files" in mounts] == ["prepare", "restore"]


@pytest.mark.parametrize(
    ("host", "known", "peers"),
    [
        ("10.1.2.3", {}, [{"ipBlock": {"cidr": "10.1.2.3/32"}}]),
        ("fd00::5", KNOWN, [{"ipBlock": {"cidr": "fd00::5/128"}}]),
        ("pg.databases.svc", {}, [in_namespace("databases")]),
        ("pg.databases.SVC.cluster.local", KNOWN, [in_namespace("databases")]),
        ("db.example.jp", {}, ANYWHERE),
        (
            "db.example.jp",
            KNOWN,
            [{"ipBlock": {"cidr": "10.1.2.0/24"}}, {"ipBlock": {"cidr": "2001:db8::/32"}}, in_namespace("pg")],
        ),
    ],
)
def test_way_to_an_external_database_is_as_narrow_as_a_policy_can_be(
    host: str, known: dict[str, Any], peers: list[dict[str, Any]]
) -> None:
    wanted = server("x", database={"mode": "External", "secretRef": {"name": "s"}})
    inputs = server_inputs(wanted, endpoint=Endpoint(host, 6432), settings=SETTINGS.model_copy(update=known))
    policies = networkpolicy.build_network_policies(inputs)
    database = next(p for p in policies if p["metadata"]["name"] == "allow-database")
    assert database["spec"]["egress"] == [{"to": peers, "ports": [{"protocol": "TCP", "port": 6432}]}]
    assert "allow-postgres" not in {p["metadata"]["name"] for p in policies}


def test_every_object_is_known_labelled_and_in_the_servers_namespace() -> None:
    objects = everything_of(server_inputs(server())) + everything_of_tenant(tenant_inputs(tenant()))
    for obj in objects:
        kind = kind_of(obj)
        metadata = obj["metadata"]
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "elink-operator", obj
        assert metadata["labels"]["elink-lc.com/server"] == "shared-1", obj
        if kind.namespaced and not metadata["name"].endswith(("-master", "-backup-key")):
            assert metadata["namespace"] == "elink-srv-shared-1", obj


def pod_specs(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for obj in objects:
        spec = obj.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template and "containers" in template.get("spec", {}):
            found.append((f"{obj['kind']}/{obj['metadata']['name']}", template["spec"]))
    return found


def test_every_pod_keeps_the_restricted_profile_and_names_its_resources() -> None:
    objects = everything_of(server_inputs(server())) + everything_of_tenant(tenant_inputs(tenant()))
    specs = pod_specs(objects + everything_of_a_restore())
    assert len(specs) == 12
    for name, spec in specs:
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["nodeSelector"] == {"topology.kubernetes.io/region": "jp"}, name
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"]["memory"], name
            assert container["resources"]["limits"]["memory"], name


def test_no_secret_value_reaches_a_pod_template_or_an_annotation() -> None:
    objects = everything_of(server_inputs(server())) + everything_of_tenant(tenant_inputs(tenant()))
    password = tenant_inputs(tenant()).access.tenant_password("uid-acme")
    for obj in objects:
        text = str(obj["metadata"]) + str(obj.get("spec"))
        assert password not in text
        assert "the-token" not in text


def test_passwords_of_tenants_differ_and_come_back_the_same() -> None:
    access = tenant_inputs(tenant()).access
    assert access.tenant_password("uid-a") == access.tenant_password("uid-a")
    assert access.tenant_password("uid-a") != access.tenant_password("uid-b")
    assert len(access.tenant_password("uid-a")) == 43
    other = Access(access.endpoint, "elink_operator", "p", "a", "another-key")
    assert other.tenant_password("uid-a") != access.tenant_password("uid-a")
    assert "tenant-key" not in repr(access)


def test_replicas_are_left_to_the_autoscaler() -> None:
    scaled = server_inputs(server("big", app={"autoscaling": {"min": 3, "max": 9, "targetCPU": 60}}))
    assert "replicas" not in deployment.build_web(scaled)["spec"]
    assert deployment.build_web(server_inputs(server()))["spec"]["replicas"] == 2
