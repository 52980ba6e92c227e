"""When each alert must fire and when it must not: series as promtool writes them, one sample per `step` minutes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """At minute `at`, exactly these label sets (severity left out) fire for the alert."""

    series: dict[str, str]
    at: int
    firing: list[dict[str, str]] = field(default_factory=list)
    step: int = 1


LEADER_A = 'elink_leader{pod="a"}'
LEADER_B = 'elink_leader{pod="b"}'
REQUESTS = "elink_app_requests_total"
FREE = "kubelet_volume_stats_available_bytes"
CAPACITY = "kubelet_volume_stats_capacity_bytes"
VOLUME = 'namespace="elink-srv-a",persistentvolumeclaim="backups"'
ELSEWHERE = 'namespace="other",persistentvolumeclaim="x"'
EXPIRY = "certmanager_certificate_expiration_timestamp_seconds"
DAY = 1440
HALF_HOURS = 48


def bucket(name: str, labels: str, slow: str) -> dict[str, str]:
    """A histogram in which all observations lie between 30 s (or 1 s) and the next bound, or below when slow is '0'."""
    return {
        f'{name}{{{labels},le="0.5"}}': "0+60x60" if slow == "0" else "0x60",
        f'{name}{{{labels},le="30"}}': "0+60x60" if slow == "0" else "0x60",
        f'{name}{{{labels},le="120"}}': "0+60x60",
        f'{name}{{{labels},le="+Inf"}}': "0+60x60",
    }


CASES: dict[str, list[Case]] = {
    "ElinkOperatorDown": [
        Case({}, 6, [{}]),
        Case({LEADER_A: "1x10 _x10"}, 18, []),
        Case({LEADER_A: "1x10 _x20"}, 25, [{}]),
        Case({LEADER_A: "1x30"}, 25),
    ],
    "ElinkNoLeader": [
        Case({LEADER_A: "0x30", LEADER_B: "0x30"}, 10, [{}]),
        Case({LEADER_A: "0x30", LEADER_B: "1x30"}, 10),
        Case({LEADER_A: "1x4 0 1x20"}, 10),
    ],
    "ElinkTwoLeaders": [
        Case({LEADER_A: "1x30", LEADER_B: "1x30"}, 10, [{}]),
        Case({LEADER_A: "1x30", LEADER_B: "0x9 1 0x20"}, 10),
    ],
    "ElinkOperatorNotRedundant": [
        Case({LEADER_A: "1x60"}, 40, [{}]),
        Case({LEADER_A: "1x60", LEADER_B: "0x60"}, 40),
    ],
    "ElinkWatchStale": [
        Case(
            {'elink_watch_age_seconds{pod="a",kind="Secret"}': "400x30"},
            10,
            [{"pod": "a", "kind": "Secret"}],
        ),
        Case({'elink_watch_age_seconds{pod="a",kind="Secret"}': "90x30"}, 10),
    ],
    "ElinkKindMissing": [
        Case({'elink_api_missing{pod="a",kind="HTTPRoute"}': "1x30"}, 15, [{"kind": "HTTPRoute"}]),
        Case({'elink_api_missing{pod="a",kind="HTTPRoute"}': "0x30"}, 15),
    ],
    "ElinkObjectNotReadable": [
        Case(
            {
                'elink_object_not_readable{pod="a",kind="ElinkTenant",object="aozora"}': "1x30",
                'elink_object_not_readable{pod="b",kind="ElinkTenant",object="aozora"}': "1x30",
            },
            15,
            [{"kind": "ElinkTenant", "object": "aozora"}],
        ),
        # During an upgrade an old replica may see what only the new one can read.
        Case({'elink_object_not_readable{pod="a",kind="ElinkTenant",object="aozora"}': "1x5 _x30"}, 15),
    ],
    "ElinkQueueStuck": [
        Case({LEADER_A: "1x30", 'workqueue_longest_running_processor_seconds{pod="a"}': "290x30"}, 10, [{"pod": "a"}]),
        Case(
            {
                LEADER_A: "1x40",
                'workqueue_depth{pod="a",lane="NEW"}': "3x40",
                'elink_reconcile_total{pod="a",kind="tenant",result="success"}': "70x40",
            },
            30,
            [{"pod": "a"}],
        ),
        Case(
            {
                LEADER_A: "1x40",
                'workqueue_depth{pod="a",lane="NEW"}': "3x40",
                'workqueue_longest_running_processor_seconds{pod="a"}': "2x40",
                'elink_reconcile_total{pod="a",kind="tenant",result="success"}': "0+5x40",
            },
            30,
        ),
        Case({LEADER_A: "0x30", 'workqueue_longest_running_processor_seconds{pod="a"}': "290x30"}, 10),
    ],
    "ElinkUserChangesWait": [
        Case(bucket("workqueue_queue_duration_seconds_bucket", 'lane="URGENT"', "1"), 40, [{}]),
        Case(bucket("workqueue_queue_duration_seconds_bucket", 'lane="URGENT"', "0"), 40),
        Case(bucket("workqueue_queue_duration_seconds_bucket", 'lane="RESYNC"', "1"), 40),
    ],
    "ElinkReconcileErrors": [
        Case(
            {
                'elink_reconcile_total{kind="tenant",result="error"}': "0+5x60",
                'elink_reconcile_total{kind="tenant",result="success"}': "0+5x60",
            },
            50,
            [{"kind": "tenant"}],
        ),
        Case(
            {
                'elink_reconcile_total{kind="tenant",result="error"}': "0+1x60",
                'elink_reconcile_total{kind="tenant",result="conflict"}': "0+50x60",
                'elink_reconcile_total{kind="tenant",result="success"}': "0+50x60",
            },
            50,
        ),
    ],
    "ElinkApiThrottled": [
        Case({'rest_client_requests_total{verb="patch",kind="Secret",code="429"}': "0+60x60"}, 40, [{}]),
        Case({'rest_client_requests_total{verb="patch",kind="Secret",code="429"}': "0+6x60"}, 40),
    ],
    "ElinkApiErrors": [
        Case(
            {
                'rest_client_requests_total{verb="get",kind="Secret",code="200"}': "0+60x60",
                'rest_client_requests_total{verb="get",kind="Secret",code="0"}': "0+5x60",
                'rest_client_requests_total{verb="get",kind="Secret",code="503"}': "0+5x60",
            },
            40,
            [{}],
        ),
        Case(
            {
                'rest_client_requests_total{verb="get",kind="Secret",code="200"}': "0+60x60",
                'rest_client_requests_total{verb="get",kind="Secret",code="404"}': "0+60x60",
            },
            40,
        ),
    ],
    "ElinkEventLoopSlow": [
        Case({'elink_event_loop_lag_seconds{pod="a"}': "2x60"}, 30, [{"pod": "a"}]),
        Case({'elink_event_loop_lag_seconds{pod="a"}': "0.2x60"}, 30),
    ],
    "ElinkTenantNotReady": [
        Case(
            {
                'elink_tenant_ready{pod="a",tenant="aozora"}': "0x30",
                'elink_tenant_ready{pod="b",tenant="aozora"}': "0x30",
                'elink_tenant_ready{pod="a",tenant="midori"}': "1x30",
            },
            20,
            [{"tenant": "aozora"}],
        ),
        Case({'elink_tenant_ready{pod="a",tenant="aozora"}': "0x10 1x20"}, 20),
    ],
    "ElinkTenantDatabaseLost": [
        Case(
            {
                'elink_tenant_database_lost{pod="a",tenant="aozora"}': "1x10",
                'elink_tenant_database_lost{pod="b",tenant="aozora"}': "1x10",
            },
            3,
            [{"tenant": "aozora"}],
        ),
        Case({'elink_tenant_database_lost{pod="a",tenant="aozora"}': "1x3 _x20"}, 15),
        Case({'elink_tenant_ready{pod="a",tenant="aozora"}': "0x10"}, 3),
    ],
    "ElinkDeletionNotConfirmed": [
        Case(
            {
                'elink_deletion_unconfirmed{pod="a",tenant="aozora"}': "1x10",
                'elink_deletion_unconfirmed{pod="b",tenant="aozora"}': "1x10",
            },
            1,
            [{"tenant": "aozora"}],
        ),
        Case({'elink_deletion_unconfirmed{pod="a",tenant="aozora"}': "1x3 _x20"}, 15),
        Case({"elink_oldest_deletion_age_seconds": "9000x10"}, 3),
    ],
    "ElinkManyTenantsNotReady": [
        Case({f'elink_tenant_ready{{tenant="t{i}"}}': "0x30" if i < 6 else "1x30" for i in range(20)}, 10, [{}]),
        Case({f'elink_tenant_ready{{tenant="t{i}"}}': "0x30" if i < 3 else "1x30" for i in range(20)}, 10),
        Case({f'elink_tenant_ready{{tenant="t{i}"}}': "0x30" if i < 6 else "1x30" for i in range(80)}, 10),
    ],
    "ElinkServerNotReady": [
        Case({'elink_server_ready{server="shared-1"}': "0x30"}, 20, [{"server": "shared-1"}]),
        Case({'elink_server_ready{server="shared-1"}': "1x30"}, 20),
    ],
    "ElinkServerChangeStuck": [
        Case(
            {
                'elink_server_changing{pod="a",server="shared-1"}': "1x90",
                'elink_server_changing{pod="b",server="shared-1"}': "1x90",
                'elink_server_changing{pod="a",server="midori"}': "1x30 0x60",
            },
            65,
            [{"server": "shared-1"}],
        ),
        Case({'elink_server_changing{pod="a",server="shared-1"}': "1x50 0x5 1x50"}, 100),
    ],
    "ElinkServerNearlyFull": [
        Case(
            {
                'elink_server_tenants{server="shared-1"}': "95x90",
                'elink_server_capacity{server="shared-1"}': "100x90",
                'elink_server_tenants{server="midori"}': "1x90",
                'elink_server_capacity{server="midori"}': "1x90",
            },
            80,
            [{"server": "shared-1"}],
        ),
        Case(
            {'elink_server_tenants{server="shared-1"}': "80x90", 'elink_server_capacity{server="shared-1"}': "100x90"},
            80,
        ),
    ],
    "ElinkDeletionStuck": [
        Case({'elink_oldest_deletion_age_seconds{pod="a"}': "3700+60x60"}, 20, [{}]),
        Case({'elink_oldest_deletion_age_seconds{pod="a"}': "0+60x10 0x60"}, 20),
    ],
    "ElinkNeighboursHarmed": [
        Case(
            {
                'elink_erasure_neighbours_harmed{pod="a",server="shared-1"}': "0x4 1x10",
                'elink_erasure_neighbours_harmed{pod="b",server="shared-1"}': "0x4 1x10",
                'elink_erasure_neighbours_harmed{pod="a",server="shared-2"}': "0x15",
            },
            5,
            [{"server": "shared-1"}],
        ),
        Case({'elink_erasure_neighbours_harmed{pod="a",server="shared-1"}': "1x3 0x15"}, 6),
    ],
    "ElinkErasureOverdue": [
        Case(
            {
                'elink_erasure_due_seconds{tenant="kasumi"}': "-60-60x90",
                'elink_erasure_due_seconds{tenant="kaze"}': "86400-60x90",
            },
            80,
            [{"tenant": "kasumi"}],
        ),
        Case({'elink_erasure_due_seconds{tenant="kaze"}': "86400-60x90"}, 80),
    ],
    "ElinkContactsNotTold": [
        Case(
            {
                'elink_contacts_untold{pod="a",tenant="kasumi"}': "1x90",
                'elink_contacts_untold{pod="a",tenant="kaze"}': "1x30 _x60",
            },
            80,
            [{"tenant": "kasumi"}],
        ),
        Case({'elink_contacts_untold{pod="a",tenant="kaze"}': "1x30 _x60"}, 80),
    ],
    "ElinkErasurePromiseAtRisk": [
        Case(
            {
                'elink_erasure_days_left{pod="a",tenant="kasumi"}': "4.99x30",
                'elink_erasure_days_left{pod="b",tenant="kasumi"}': "4.99x30",
                'elink_erasure_days_left{pod="a",tenant="kaze"}': "5.01x30",
                'elink_erasure_days_left{pod="a",tenant="sora"}': "-1x30",
            },
            20,
            [{"tenant": "kasumi"}, {"tenant": "sora"}],
        ),
        Case({'elink_erasure_days_left{pod="a",tenant="kasumi"}': "4x10 30x20"}, 20),
    ],
    "ElinkIsolationFailed": [
        Case(
            {
                'elink_tenant_condition{tenant="aozora",type="Isolated"}': "0x10",
                'elink_tenant_condition{tenant="midori",type="Isolated"}': "-1x10",
                'elink_tenant_condition{tenant="midori",type="Ready"}': "0x10",
            },
            5,
            [{"tenant": "aozora"}],
        ),
        Case({'elink_tenant_condition{tenant="midori",type="Isolated"}': "-1x10"}, 5),
    ],
    "ElinkIsolationUnknown": [
        Case(
            {
                'elink_tenant_condition{tenant="midori",type="Isolated"}': "-1x90",
                'elink_tenant_condition{tenant="aozora",type="Isolated"}': "0x90",
            },
            70,
            [{"tenant": "midori"}],
        ),
        Case({'elink_tenant_condition{tenant="midori",type="Isolated"}': "-1x20 _x70"}, 70),
    ],
    "ElinkBackupTooOld": [
        Case({'elink_backup_newest_age_seconds{tenant="aozora"}': "93700+60x60"}, 40, [{"tenant": "aozora"}]),
        Case({'elink_backup_newest_age_seconds{tenant="aozora"}': "80000x60"}, 40),
        Case({'elink_backup_generations{tenant="new"}': f"0x{2 * HALF_HOURS}"}, 2 * DAY, [{"tenant": "new"}], step=30),
        Case({'elink_backup_generations{tenant="new"}': f"0x{HALF_HOURS}"}, DAY, step=30),
    ],
    "ElinkServerBackupTooOld": [
        Case({'elink_server_backup_newest_age_seconds{server="tokyo-1"}': "93700+60x60"}, 40, [{"server": "tokyo-1"}]),
        Case({'elink_server_backup_newest_age_seconds{server="tokyo-1"}': "80000x60"}, 40),
        Case(
            {'elink_server_backup_generations{server="new"}': f"0x{2 * HALF_HOURS}"},
            2 * DAY,
            [{"server": "new"}],
            step=30,
        ),
        Case({'elink_server_backup_generations{server="new"}': f"0x{HALF_HOURS}"}, DAY, step=30),
    ],
    "ElinkRestoreDrillFailed": [
        Case({'elink_restore_drill_failed{tenant="aozora"}': "1x30"}, 20, [{"tenant": "aozora"}]),
        Case({'elink_restore_drill_failed{tenant="aozora"}': "0x30"}, 20),
    ],
    "ElinkRestoreDrillOverdue": [
        Case(
            {
                'elink_restore_drill_proof_age_seconds{tenant="aozora"}': f"{31 * 86400}+60x90",
                'elink_restore_drill_proof_age_seconds{tenant="midori"}': f"{29 * 86400}+60x90",
                "elink_restore_drill_limit_seconds": f"{30 * 86400}x90",
            },
            80,
            [{"tenant": "aozora"}],
        ),
        # Drills are switched off.
        Case({'elink_restore_drill_proof_age_seconds{tenant="aozora"}': f"{90 * 86400}x90"}, 80),
    ],
    "ElinkRestoreStuck": [
        Case(
            {'elink_restore_unfinished_seconds{restore="r",tenant="aozora",mode="InPlace"}': "14000+60x30"},
            20,
            [{"restore": "r", "tenant": "aozora", "mode": "InPlace"}],
        ),
        Case({'elink_restore_unfinished_seconds{restore="r",tenant="aozora",mode="Drill"}': "60+60x30"}, 20),
    ],
    "ElinkBackupDamaged": [
        Case({'elink_backup_damaged_generations{tenant="aozora"}': "0x4 1x20"}, 20, [{"tenant": "aozora"}]),
        Case({'elink_server_backup_damaged_generations{server="tokyo-1"}': "2x20"}, 20, [{"server": "tokyo-1"}]),
        Case({'elink_backup_damaged_generations{tenant="aozora"}': "0x20"}, 20),
    ],
    "ElinkBackupGenerationsMissing": [
        Case(
            {'elink_backup_generations{tenant="aozora"}': f"5x{9 * HALF_HOURS}"},
            9 * DAY,
            [{"tenant": "aozora"}],
            step=30,
        ),
        Case({'elink_backup_generations{tenant="aozora"}': f"7x{9 * HALF_HOURS}"}, 9 * DAY, step=30),
        Case({'elink_backup_generations{tenant="young"}': f"2x{2 * HALF_HOURS}"}, 2 * DAY, step=30),
    ],
    "ElinkAppErrors": [
        Case(
            {
                f'{REQUESTS}{{namespace="s",method="GET",route="/login",status="200"}}': "0+60x60",
                f'{REQUESTS}{{namespace="s",method="GET",route="/login",status="500"}}': "0+1x60",
                f'{REQUESTS}{{namespace="s",method="GET",route="/login",status="503"}}': "0+1x60",
            },
            40,
            [{"namespace": "s"}],
        ),
        Case(
            {
                f'{REQUESTS}{{namespace="s",method="GET",route="/login",status="200"}}': "0+60x60",
                f'{REQUESTS}{{namespace="s",method="GET",route="unrouted",status="503"}}': "0+60x60",
            },
            40,
        ),
    ],
    "ElinkAppSlow": [
        Case(
            bucket("elink_app_request_duration_seconds_bucket", 'namespace="s",route="/login"', "1"),
            50,
            [{"namespace": "s"}],
        ),
        Case(bucket("elink_app_request_duration_seconds_bucket", 'namespace="s",route="/login"', "0"), 50),
    ],
    "ElinkAppDatabaseConnectionsExhausted": [
        Case(
            {
                'elink_app_db_connections{namespace="s",pod="w",state="in_use"}': "38x60",
                'elink_app_db_connections{namespace="s",pod="w",state="idle"}': "2x60",
                'elink_app_db_connection_limit{namespace="s",pod="w"}': "40x60",
            },
            30,
            [{"namespace": "s", "pod": "w"}],
        ),
        Case(
            {'elink_app_db_connections_refused_total{namespace="s",pod="w",reason="limit"}': "0+1x60"},
            30,
            [{"namespace": "s", "pod": "w"}],
        ),
        Case(
            {
                'elink_app_db_connections{namespace="s",pod="w",state="in_use"}': "8x60",
                'elink_app_db_connection_limit{namespace="s",pod="w"}': "40x60",
                'elink_app_db_connections_refused_total{namespace="s",pod="w",reason="failure"}': "0+1x60",
            },
            30,
        ),
    ],
    "ElinkAppRegistryLost": [
        Case({'elink_app_registry_connected{namespace="s",pod="w"}': "0x30"}, 10, [{"namespace": "s", "pod": "w"}]),
        Case({'elink_app_registry_connected{namespace="s",pod="w"}': "1x6 0x2 1x30"}, 10),
    ],
    "ElinkAppWrongDatabase": [
        Case(
            {'elink_app_db_connections_refused_total{namespace="s",reason="check"}': "0x5 1x10"},
            7,
            [{"namespace": "s"}],
        ),
        Case({'elink_app_db_connections_refused_total{namespace="s",reason="limit"}': "0x5 1x10"}, 7),
    ],
    "ElinkWorkerHeartbeatStale": [
        Case({'elink_app_worker_heartbeat_timestamp_seconds{namespace="s"}': "60x60"}, 30, [{"namespace": "s"}]),
        Case({'elink_app_worker_heartbeat_timestamp_seconds{namespace="s"}': "60+60x60"}, 30),
        Case({'elink_app_worker_heartbeat_timestamp_seconds{namespace="s"}': "0x60"}, 30),
    ],
    "ElinkLoginFailures": [
        Case({'elink_app_logins_total{namespace="s",outcome="failure"}': "0+120x60"}, 40, [{"namespace": "s"}]),
        Case(
            {
                'elink_app_logins_total{namespace="s",outcome="failure"}': "0+10x60",
                'elink_app_logins_total{namespace="s",outcome="success"}': "0+600x60",
            },
            40,
        ),
    ],
    "ElinkVolumeNearlyFull": [
        Case(
            {
                f"{FREE}{{{VOLUME}}}": "5x60",
                f"{CAPACITY}{{{VOLUME}}}": "100x60",
                f"{FREE}{{{ELSEWHERE}}}": "1x60",
                f"{CAPACITY}{{{ELSEWHERE}}}": "100x60",
            },
            30,
            [{"namespace": "elink-srv-a", "persistentvolumeclaim": "backups"}],
        ),
        Case(
            {
                f"{FREE}{{{VOLUME}}}": "50x60",
                f"{CAPACITY}{{{VOLUME}}}": "100x60",
            },
            30,
        ),
    ],
    "ElinkCertificateExpires": [
        Case(
            {'traefik_tls_certs_not_after{cn="*.elink.example.jp"}': "864000x90"},
            80,
            [{"certificate": "*.elink.example.jp"}],
        ),
        Case(
            {f'{EXPIRY}{{namespace="elink-gateway",name="wild"}}': "864000x90"},
            80,
            [{"certificate": "wild"}],
        ),
        Case({'traefik_tls_certs_not_after{cn="*.elink.example.jp"}': "5184000x90"}, 80),
    ],
}
