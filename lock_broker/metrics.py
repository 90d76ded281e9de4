"""What the broker counts."""

from __future__ import annotations

from prometheus_client import Histogram

from shared.telemetry import Metrics

COMMIT_OUTCOMES = ("committed", "repeated", "stale", "moved", "refused")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WAIT_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class BrokerMetrics:
    """The broker's metrics; routes are counted by their templates, so that names in paths make no new series."""

    def __init__(self, metrics: Metrics) -> None:
        self.held = metrics.gauge("leases_held", "Leases that are live now")
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
        self.seconds = metrics.histogram(
            "request_seconds", "Time to answer a request", ("route", "method", "status"), buckets=SECONDS
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. The series are kept: to find one by its labels takes longer than to count."""
        labels = (route, method, status)
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self.seconds.labels(*labels)
        series.observe(seconds)
