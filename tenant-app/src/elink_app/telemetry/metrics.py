"""Every metric of the application. Label values are bounded: routes, states, and tenant names of the registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
_QUERY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 5)


class Metrics:
    """One set per process, in a registry of its own so that tests can make as many as they like."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._add_requests(registry)
        self._add_database(registry)
        self._add_registry(registry)
        self._add_worker(registry)

    def _add_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "elink_app_requests_total",
            "Requests answered, by route template.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.tenant_requests = Counter(
            "elink_app_tenant_requests_total",
            "Requests answered, by tenant and class of status (2xx ...).",
            ["tenant", "status_class"],
            registry=registry,
        )
        self.latency = Histogram(
            "elink_app_request_duration_seconds",
            "Time to the last byte of the answer, by route template.",
            ["method", "route"],
            buckets=_LATENCY,
            registry=registry,
        )
        self.in_flight = Gauge("elink_app_requests_in_flight", "Requests being answered.", registry=registry)
        self.logins = Counter(
            "elink_app_logins_total",
            "Log-in attempts: success, failure, held_back.",
            ["outcome"],
            registry=registry,
        )
        self.clicks = Counter(
            "elink_app_link_clicks_total",
            "Visits of counted links: human, machine (as they look), head, late (not counted any more), lost.",
            ["kind"],
            registry=registry,
        )
        self.unknown_hosts = Counter(
            "elink_app_unknown_host_requests_total", "Requests for a host of no tenant.", registry=registry
        )

    def _add_database(self, registry: CollectorRegistry) -> None:
        self.db_connections = Gauge(
            "elink_app_db_connections",
            "Connections to tenant databases: idle, in use.",
            ["state"],
            registry=registry,
        )
        self.db_connection_limit = Gauge(
            "elink_app_db_connection_limit", "Connections that this process may open.", registry=registry
        )
        self.db_engines = Gauge("elink_app_db_engines", "Tenants with an open pool.", registry=registry)
        self.db_refused = Counter(
            "elink_app_db_connections_refused_total",
            "Connections that were not opened: limit, check (wrong database or role), failure.",
            ["reason"],
            registry=registry,
        )
        self.db_queries = Histogram(
            "elink_app_db_query_duration_seconds", "Time of one statement.", buckets=_QUERY, registry=registry
        )

    def _add_registry(self, registry: CollectorRegistry) -> None:
        self.registry_age = Gauge(
            "elink_app_registry_age_seconds", "Time since the registry was last read whole.", registry=registry
        )
        self.registry_connected = Gauge(
            "elink_app_registry_connected", "1 while the registry connection listens.", registry=registry
        )
        self.registry_errors = Counter(
            "elink_app_registry_errors_total", "Failed reads or lost connections.", registry=registry
        )
        self.tenants = Gauge("elink_app_tenants", "Tenants in the registry.", ["state"], registry=registry)

    def _add_worker(self, registry: CollectorRegistry) -> None:
        self.worker_heartbeat = Gauge(
            "elink_app_worker_heartbeat_timestamp_seconds", "When the worker last began a round.", registry=registry
        )
        self.worker_rounds = Counter(
            "elink_app_worker_rounds_total",
            "Housekeeping of one tenant: success, failure.",
            ["outcome"],
            registry=registry,
        )
        self.worker_tasks = Counter(
            "elink_app_worker_tasks_total",
            "Runs of a task for one tenant: success, failure.",
            ["task", "outcome"],
            registry=registry,
        )
        self.purged = Counter(
            "elink_app_purged_rows_total", "Rows removed by housekeeping.", ["kind"], registry=registry
        )
        self.mails = Counter(
            "elink_app_mails_total",
            "Mails of deliveries: accepted, deferred, refused, sender_refused, too_large, unsent, unknown.",
            ["outcome"],
            registry=registry,
        )
        self.inbound = Counter(
            "elink_app_inbound_mails_total",
            "Mails to bounce addresses: failed, delayed, delivered, complaint, other.",
            ["kind"],
            registry=registry,
        )

    def forget_tenant(self, tenant: str) -> None:
        """Drop the series of a tenant that is gone."""
        for status_class in ("1xx", "2xx", "3xx", "4xx", "5xx"):
            self.tenant_requests.remove(tenant, status_class)
