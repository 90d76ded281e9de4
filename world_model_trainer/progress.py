"""What the trainer knows of its own progress: for the card of a checkpoint, for metrics, for the progress stream."""

from __future__ import annotations

import time
from typing import Any

from shared.actions import DEFAULT_ACTIONS
from shared.leases import ModelVersion
from shared.messages import TrainingProgress
from shared.settings import ServiceSettings
from shared.telemetry import Metrics
from world_model_trainer.training import FreshErrors

REPORT_SECONDS = 2.0
SMOOTHING = 0.95


class Progress:
    """Counts and running means since the last commit and over the life of the process."""

    def __init__(self, metrics: Metrics) -> None:
        self.steps = 0
        self.views_seen = 0
        self.views_trained = 0
        self.version = 0
        self._steps_before = 0
        """Steps that earlier lives of this world model took."""
        self._steps_at_commit = 0
        self._losses: dict[str, float] = {}
        self._errors: list[float] = []
        self._copy_last: list[float] = []
        self._since = time.monotonic()
        self._next_report = 0.0
        self._reported_steps = 0
        self._step_count = metrics.counter("steps", "Optimiser steps taken")
        self._view_count = metrics.counter("views_measured", "Fresh views whose surprise was measured")
        self.rejected = metrics.counter("views_rejected", "Views whose picture could not be used")
        self._commit_count = metrics.counter("commits", "Checkpoints committed")
        self._loss = metrics.gauge("loss", "Weighted loss terms, smoothed", ("term",))
        self._error = metrics.gauge("one_step_error", "Squared embedding error on fresh views, last batch")
        self._copy = metrics.gauge("copy_last_error", "The same for predicting no change, last batch")
        self._version_gauge = metrics.gauge("world_model_version", "Version of the head")
        self._committed_at = metrics.gauge("last_commit_timestamp_seconds", "When the head moved last")

    @property
    def worth_a_commit(self) -> bool:
        """Whether anything was learnt since the last commit."""
        return self.steps > self._steps_at_commit

    def resume(self, head: ModelVersion) -> None:
        """Go on counting where the committed version stopped."""
        self._steps_before = int(head.card.get("training_steps", 0))
        self.version = head.version
        self._steps_at_commit = self.steps
        self._steps_before -= self.steps
        self._version_gauge.set(head.version)

    def stepped(self, terms: dict[str, float], views: int) -> None:
        """Note one optimiser step over ``views`` views."""
        self.steps += 1
        self.views_trained += views
        self._step_count.inc()
        for name, value in terms.items():
            smooth = SMOOTHING * self._losses[name] + (1.0 - SMOOTHING) * value if name in self._losses else value
            self._losses[name] = smooth
            self._loss.labels(name).set(smooth)

    def measured(self, errors: FreshErrors) -> None:
        """Note how wrong the model was about fresh views."""
        self._errors += errors.error.tolist()
        self._copy_last += errors.copy_last_error.tolist()
        self._view_count.inc(len(errors.error))
        self._error.set(float(errors.error.mean()))
        self._copy.set(float(errors.copy_last_error.mean()))

    def report(self, learner: str, *, source: str) -> TrainingProgress | None:
        """Return the smoothed losses as a message, at most every few seconds and only after new steps."""
        now = time.monotonic()
        if now < self._next_report or self.steps == self._reported_steps:
            return None
        self._next_report, self._reported_steps = now + REPORT_SECONDS, self.steps
        return TrainingProgress(
            learner=learner, step=self._steps_before + self.steps, terms=dict(self._losses), source=source
        )

    def card(self, settings: ServiceSettings, head: ModelVersion | None) -> dict[str, Any]:
        """Describe the weights as they are now: lineage, data, losses. Errors are means over views since the last."""
        fresh = len(self._errors)
        error = sum(self._errors) / fresh if fresh else None
        copy_last = sum(self._copy_last) / fresh if fresh else None
        return {
            "parents": [f"{head.model}@{head.version}"] if head else [],
            "camera": settings.camera,
            "views_seen": self.views_seen,
            "fresh_views": fresh,
            "one_step_error": error,
            "copy_last_error": copy_last,
            # Comparable between versions, as the errors, in each one's own embedding space, are not.
            "error_ratio": error / copy_last if error is not None and copy_last else None,
            "training_steps": self._steps_before + self.steps,
            "losses": dict(self._losses),
            "action_table": DEFAULT_ACTIONS.digest,
            "seed": settings.seed,
            "seconds": round(time.monotonic() - self._since, 3),
            "config_hash": settings.config_hash,
        }

    def committed(self, version: ModelVersion) -> None:
        """Start counting anew towards the next commit."""
        self.version = version.version
        self._steps_at_commit = self.steps
        self._errors.clear()
        self._copy_last.clear()
        self._since = time.monotonic()
        self._commit_count.inc()
        self._version_gauge.set(version.version)
        self._committed_at.set_to_current_time()
