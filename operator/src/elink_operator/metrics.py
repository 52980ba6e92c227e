"""The operator's metrics, one registry per process (or test). Names and labels are API: dashboards use them."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from elink_operator import __version__

_API_BUCKETS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30)
_WORK_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_RESTORE_BUCKETS: Final = (10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
_WAIT_BUCKETS: Final = (0.001, 0.01, 0.1, 0.5, 1, 5, 30, 120, 600)


class Metrics:
    """Every counter and gauge of the engine. Business gauges are collected from the store (`business.py`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        self._queue(registry)
        self._reconciling(registry)
        self._api(registry)
        self._caches(registry)
        self._process(registry)

    def _queue(self, registry: CollectorRegistry) -> None:
        """Named like client-go's so that known dashboards fit."""
        self.queue_depth = Gauge("workqueue_depth", "Keys that wait for a worker.", ["lane"], registry=registry)
        self.queue_adds = Counter("workqueue_adds_total", "Keys added.", ["lane"], registry=registry)
        self.queue_retries = Counter("workqueue_retries_total", "Runs repeated after an error.", registry=registry)
        self.queue_wait = Histogram(
            "workqueue_queue_duration_seconds",
            "From being added to the start of the work.",
            ["lane"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.queue_unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Sum of the ages of the runs in progress.", registry=registry
        )
        self.queue_longest = Gauge(
            "workqueue_longest_running_processor_seconds", "Age of the oldest run.", registry=registry
        )
        self.queue_active = Gauge("workqueue_active_workers", "Runs in progress.", registry=registry)

    def _reconciling(self, registry: CollectorRegistry) -> None:
        self.reconciles = Counter(
            "elink_reconcile_total", "Reconciles by result.", ["kind", "result"], registry=registry
        )
        self.reconcile_seconds = Histogram(
            "elink_reconcile_duration_seconds",
            "Time of one reconcile.",
            ["kind"],
            buckets=_WORK_BUCKETS,
            registry=registry,
        )

        self.restores = Counter("elink_restore_total", "Restores that ended.", ["mode", "result"], registry=registry)
        self.restore_seconds = Histogram(
            "elink_restore_duration_seconds",
            "Time of one restore that succeeded.",
            ["mode"],
            buckets=_RESTORE_BUCKETS,
            registry=registry,
        )
        self.changes = Counter(
            "elink_change_records_total", "Records of changes: written, failed.", ["result"], registry=registry
        )

        self.contact_mails = Counter(
            "elink_contact_mails_total",
            "Mails to contacts about a cancellation: accepted, refused (for good), failed (tried again).",
            ["result"],
            registry=registry,
        )

    def _api(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server; code 0 means no answer.",
            ["verb", "kind", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Latency of one request to the API server; code is a class such as 2xx, or 0 for no answer.",
            ["verb", "code"],
            buckets=_API_BUCKETS,
            registry=registry,
        )
        self.request_retries = Counter(
            "rest_client_retries_total", "Requests repeated after 429, 5xx or a broken connection.", registry=registry
        )
        self.write_rate = Gauge(
            "elink_api_write_rate", "Writes per second that the limiter allows now.", registry=registry
        )
        self.applies = Counter(
            "elink_apply_total", "Objects applied or found unchanged.", ["kind", "result"], registry=registry
        )
        self.events = Counter(
            "elink_events_total", "Kubernetes Events: posted, duplicate, failed.", ["result"], registry=registry
        )

    def _caches(self, registry: CollectorRegistry) -> None:
        self.watch_age = Gauge(
            "elink_watch_age_seconds", "Since the last sign of life of a watch.", ["kind"], registry=registry
        )
        self.watch_restarts = Counter(
            "elink_watch_restarts_total",
            "Watches ended: expired, silent, cut, error.",
            ["kind", "cause"],
            registry=registry,
        )
        self.relists = Counter("elink_relists_total", "Complete lists of a kind.", ["kind"], registry=registry)
        self.api_missing = Gauge(
            "elink_api_missing", "1 when the cluster does not serve this kind.", ["kind"], registry=registry
        )
        self.cached = Gauge("elink_cached_objects", "Objects in the cache.", ["kind"], registry=registry)
        self.healed = Counter(
            "elink_cache_healed_total",
            "Events that were lost and found by the comparison.",
            ["kind"],
            registry=registry,
        )

    def _process(self, registry: CollectorRegistry) -> None:
        self.leader = Gauge("elink_leader", "1 while this process holds the Lease.", registry=registry)
        self.loop_lag = Gauge(
            "elink_event_loop_lag_seconds", "Worst delay of the event loop in the last 30 s.", registry=registry
        )
        self.synced = Gauge("elink_caches_synced", "1 when all caches are filled.", registry=registry)
        Gauge("elink_operator_info", "Version.", ["version"], registry=registry).labels(__version__).set(1)
