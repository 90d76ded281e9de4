"""What the broker counts."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Histogram

from shared.leases import Lease
from shared.telemetry import Metrics

COMMIT_OUTCOMES = ("committed", "repeated", "stale", "moved", "refused")
HOLDERS = 64
"""Leases shown one by one, so that a crowd of holders makes no crowd of series."""
HOLDER_LABELS = ("resource", "holder")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WAIT_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class BrokerMetrics:
    """The broker's metrics; routes are counted by their templates, so that names in paths make no new series."""

    def __init__(self, metrics: Metrics) -> None:
        self.held = metrics.gauge("leases_held", "Leases that are live now")
        self._holders = metrics.rows(
            "lease_fencing_token", f"Fencing tokens of live leases, the first {HOLDERS}", HOLDER_LABELS
        )
        self.grants = metrics.counter("lease_grants", "Leases granted")
        self.denials = metrics.counter("lease_denials", "Requests refused because another held the lease")
        self.renewals = metrics.counter("lease_renewals", "Leases prolonged")
        self.releases = metrics.counter("lease_releases", "Leases given back in time")
        self.losses = metrics.counter("lease_losses", "Leases that ran out before they were given back")
        self.forced = metrics.counter("lease_forced", "Leases taken away by an admin")
        self.waiters = metrics.gauge("lease_waiters", "Requests that stand in line now")
        self.waits = metrics.histogram(
            "lease_wait_seconds", "Time that requests stood in line, granted or not", buckets=WAIT_SECONDS
        )
        self.standby = metrics.gauge("standby", "1 while another host's brokers are the active ones")
        self.commits = metrics.counter("commits", "Commits by what came of them", ("outcome",))
        for outcome in COMMIT_OUTCOMES:
            self.commits.labels(outcome)
        self.redis_up = metrics.gauge("redis_up", "1 when Redis answered last")
        self.redis_memory = metrics.gauge("redis_memory_bytes", "Memory that Redis uses")
        self.redis_memory_limit = metrics.gauge("redis_memory_limit_bytes", "Most memory that Redis may use")
        self.redis_clients = metrics.gauge("redis_clients", "Connections that Redis has")
        self.redis_append_failing = metrics.gauge(
            "redis_append_failing", "1 while Redis cannot write or rewrite its append-only file"
        )
        for unknown in (self.redis_memory, self.redis_memory_limit, self.redis_clients, self.redis_append_failing):
            unknown.set(float("nan"))
        self.seconds = metrics.histogram(
            "request_seconds", "Time to answer a request", ("route", "method", "status"), buckets=SECONDS
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}

    def live(self, leases: Sequence[Lease]) -> None:
        """Note which leases are live, and who holds them."""
        self.held.set(len(leases))
        # By name: one holder may have several shared leases of one resource.
        shown = {(lease.resource, lease.holder): float(lease.token) for lease in leases[:HOLDERS]}
        self._holders.replace(shown.items())

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. The series are kept: to find one by its labels takes longer than to count."""
        labels = (route, method, status)
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self.seconds.labels(*labels)
        series.observe(seconds)
