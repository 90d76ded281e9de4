"""What operators see of the learner."""

from __future__ import annotations

import math
from collections.abc import Mapping

from shared.telemetry import Metrics

LEARNING_LABELS = ("agent", "algorithm", "world_model")
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class LearnerMetrics:
    """Counters and gauges of one learner."""

    def __init__(self, metrics: Metrics) -> None:
        self.updates = metrics.counter("updates", "Updates made")
        self.skipped = metrics.counter("skipped_updates", "Updates not made: loss or gradient was not finite")
        self.update_seconds = metrics.histogram("update_seconds", "Seconds per update", buckets=_BUCKETS)
        self.batches = metrics.counter("batches", "Batches of dreams learnt from")
        self.dreams = metrics.counter("dreams", "Dreams learnt from")
        self.ignored = metrics.counter("ignored_batches", "Batches of dreams not learnt from, by reason", ("reason",))
        self.commits = metrics.counter("commits", "Attempts to commit a policy, by outcome", ("outcome",))
        self.policy_version = metrics.gauge("policy_version", "Newest version committed or loaded; 0 for none")
        self.last_commit = metrics.gauge("last_commit_timestamp_seconds", "When a policy was committed last")
        self._learning = metrics.rows(
            "learning_info", "1: the agent that learns, how, and of which world model's dreams", LEARNING_LABELS
        )
        self.runs = metrics.counter("runs", "Times that an agent was taken up")
        self.terms = metrics.gauge("term", "Newest value of a loss or of what else an update reports", ("term",))
        for reason in ("stale", "gone", "unreadable", "other world model"):
            self.ignored.labels(reason)
        for outcome in ("committed", "refused", "away", "not finite"):
            self.commits.labels(outcome)

    def learning(self, agent: str, algorithm: str, world_model: str | None) -> None:
        """Note who learns of whose dreams; None while that is open."""
        self._learning.replace([((agent, algorithm, world_model or ""), 1.0)])

    def updated(self, terms: Mapping[str, float], seconds: float) -> None:
        """Count one update."""
        self.update_seconds.observe(seconds)
        (self.skipped if terms.get("skipped") else self.updates).inc()
        for name, value in terms.items():
            if math.isfinite(value):
                self.terms.labels(name).set(value)
