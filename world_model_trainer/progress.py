"""What the trainer knows of its own progress: for the card of a checkpoint, for metrics, for the progress stream."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.actions import DEFAULT_ACTIONS
from shared.leases import ModelVersion
from shared.messages import TrainingProgress
from shared.settings import ServiceSettings
from shared.telemetry import Metrics
from world_model_trainer.evaluation.spread import effective_rank
from world_model_trainer.training import FreshErrors, Trainer

REPORT_SECONDS = 2.0
TRAINING_LABELS = ("world_model", "preset", "objective", "surprise")
SMOOTHING = 0.95
RANK_VIEWS = 64
"""Of fewer views the rank would tell how many they are rather than how many dimensions they use."""


class Counts(BaseModel):
    """What is counted from one commit to the next, and over the life of a replay; part of the training state."""

    views_trained: int = 0
    """Over the life of the replay."""
    steps_at_commit: int = 0
    fresh: int = 0
    error: float = 0.0
    copy_last_error: float = 0.0
    """Sums over the fresh views since the last commit."""
    losses: dict[str, float] = {}
    seconds: float = 0.0
    """Since the last commit, in former lives."""


@dataclass(frozen=True)
class HeldOut:
    """Mean errors on views that are never trained on; None where there are none yet."""

    views: int
    error: float | None
    copy_last_error: float | None
    ratio_older: float | None
    """Of the older half of them alone: it rises when the past is forgotten."""
    ratio_newer: float | None
    effective_rank: float | None = None
    """Of their embeddings: near 1 when they have collapsed, at most as many as they have dimensions."""
    dimensions: int = 0

    @classmethod
    def of(cls, errors: FreshErrors | None) -> HeldOut:
        """Sum up errors that are in the order in which the views came."""
        if errors is None or not len(errors.error):
            return cls(0, None, None, None, None)
        half = len(errors.error) // 2
        return cls(
            len(errors.error),
            float(errors.error.mean()),
            float(errors.copy_last_error.mean()),
            ratio(float(errors.error[:half].sum()), float(errors.copy_last_error[:half].sum())),
            ratio(float(errors.error[half:].sum()), float(errors.copy_last_error[half:].sum())),
            effective_rank(errors.embeddings) if len(errors.embeddings) >= RANK_VIEWS else None,
            errors.embeddings.shape[1],
        )

    @property
    def ratio(self) -> float | None:
        """The error divided by that of predicting no change."""
        return ratio(self.error, self.copy_last_error)


class Progress:
    """Counts and running means since the last commit and over the life of the world model."""

    def __init__(self, metrics: Metrics) -> None:
        self.counts = Counts()
        self.steps = 0
        """Over the life of the world model."""
        self.views_seen = 0
        self.version = 0
        self._since = time.monotonic()
        self._next_report = 0.0
        self._reported_steps = 0
        self._step_count = metrics.counter("steps", "Optimiser steps taken")
        self._view_count = metrics.counter("views_measured", "Fresh views whose surprise was measured")
        self.rejected = metrics.counter("views_rejected", "Views whose picture could not be used")
        self._commit_count = metrics.counter("commits", "Checkpoints committed")
        self._loss = metrics.gauge("loss", "Weighted loss terms, smoothed", ("term",))
        self._rate = metrics.gauge("learning_rate", "Learning rate of the last step")
        self._error = metrics.gauge("one_step_error", "Squared embedding error on fresh views, last batch")
        self._copy = metrics.gauge("copy_last_error", "The same for predicting no change, last batch")
        self._held_out_error = metrics.gauge("held_out_error", "Squared embedding error on views never trained on")
        self._held_out_copy = metrics.gauge("held_out_copy_last_error", "The same for predicting no change")
        self._held_out_ratio = metrics.gauge(
            "held_out_ratio", "Held-out error divided by that of predicting no change, by age of the views", ("age",)
        )
        self._rank = metrics.gauge(
            "effective_rank", f"Dimensions that embeddings of held-out views use; NaN below {RANK_VIEWS} views"
        )
        self._rank.set(float("nan"))
        self._dimensions = metrics.gauge("embedding_dimensions", "Dimensions that they have")
        self._trains = metrics.rows(
            "training_info", "1: the world model in training, its networks and objective", TRAINING_LABELS
        )
        self._plateau = metrics.gauge("plateau", "1 while training gets nowhere and goes slowly")
        self._version_gauge = metrics.gauge("world_model_version", "Version of the head")
        self._committed_at = metrics.gauge("last_commit_timestamp_seconds", "When the head moved last")

    @property
    def worth_a_commit(self) -> bool:
        """Whether anything was learnt since the last commit."""
        return self.steps > self.counts.steps_at_commit

    @property
    def fresh_ratio(self) -> float | None:
        """The error on fresh views since the last commit, divided by that of predicting no change."""
        return ratio(self.counts.error, self.counts.copy_last_error)

    def resume(self, name: str, trainer: Trainer, head: ModelVersion | None, counts: Counts | None) -> None:
        """Go on counting where the training state of the world model stopped, or else where the head did."""
        config = trainer.model.config
        self._trains.replace([((name, config.preset, trainer.model.learnt_by, config.surprise), 1.0)])
        self.steps = self._reported_steps = trainer.steps
        self.version = head.version if head else 0
        self.counts = counts or Counts(steps_at_commit=trainer.steps)
        self._since = time.monotonic()
        self._version_gauge.set(self.version)

    def stepped(self, terms: dict[str, float], views: int, *, rate: float) -> None:
        """Note one optimiser step over ``views`` views."""
        self.steps += 1
        self.counts.views_trained += views
        self._step_count.inc()
        self._rate.set(rate)
        losses = self.counts.losses
        for name, value in terms.items():
            smooth = SMOOTHING * losses[name] + (1.0 - SMOOTHING) * value if name in losses else value
            losses[name] = smooth
            self._loss.labels(name).set(smooth)

    def measured(self, errors: FreshErrors) -> None:
        """Note how wrong the model was about fresh views."""
        self.counts.fresh += len(errors.error)
        self.counts.error += float(errors.error.sum())
        self.counts.copy_last_error += float(errors.copy_last_error.sum())
        self._view_count.inc(len(errors.error))
        self._error.set(float(errors.error.mean()))
        self._copy.set(float(errors.copy_last_error.mean()))

    def held_out(self, found: HeldOut) -> None:
        """Note how wrong the model is about held-out views."""
        if found.error is not None and found.copy_last_error is not None:
            self._held_out_error.set(found.error)
            self._held_out_copy.set(found.copy_last_error)
        for age, value in (("older", found.ratio_older), ("newer", found.ratio_newer)):
            if value is not None:
                self._held_out_ratio.labels(age).set(value)
        if found.effective_rank is not None:
            self._rank.set(found.effective_rank)
            self._dimensions.set(found.dimensions)

    def plateau(self, reached: bool) -> None:
        """Note whether training gets anywhere."""
        self._plateau.set(reached)

    def report(self, learner: str, *, source: str) -> TrainingProgress | None:
        """Return the smoothed losses as a message, at most every few seconds and only after new steps."""
        now = time.monotonic()
        if now < self._next_report or self.steps == self._reported_steps:
            return None
        self._next_report, self._reported_steps = now + REPORT_SECONDS, self.steps
        return TrainingProgress(learner=learner, step=self.steps, terms=dict(self.counts.losses), source=source)

    def now(self) -> Counts:
        """Return the counts as they are to be stored."""
        return self.counts.model_copy(update={"seconds": self._seconds(), "losses": dict(self.counts.losses)})

    def card(self, settings: ServiceSettings, head: ModelVersion | None, held_out: HeldOut) -> dict[str, Any]:
        """Describe the weights as they are now: lineage, data, losses. Errors are means over views since the last."""
        counts = self.counts
        return {
            "parents": [f"{head.model}@{head.version}"] if head else [],
            "camera": settings.camera,
            "views_seen": self.views_seen,
            "fresh_views": counts.fresh,
            "one_step_error": counts.error / counts.fresh if counts.fresh else None,
            "copy_last_error": counts.copy_last_error / counts.fresh if counts.fresh else None,
            # Comparable between versions, as the errors, in each one's own embedding space, are not.
            "error_ratio": self.fresh_ratio,
            "held_out_views": held_out.views,
            "held_out_error": held_out.error,
            "held_out_copy_last_error": held_out.copy_last_error,
            "held_out_ratio": held_out.ratio,
            "effective_rank": held_out.effective_rank,
            "training_steps": self.steps,
            "losses": dict(counts.losses),
            "action_table": DEFAULT_ACTIONS.digest,
            "seed": settings.seed,
            "seconds": round(self._seconds(), 3),
            "config_hash": settings.config_hash,
        }

    def committed(self, version: ModelVersion) -> None:
        """Start counting anew towards the next commit."""
        self.version = version.version
        counts = self.counts
        self.counts = Counts(views_trained=counts.views_trained, steps_at_commit=self.steps, losses=dict(counts.losses))
        self._since = time.monotonic()
        self._commit_count.inc()
        self._version_gauge.set(version.version)
        self._committed_at.set_to_current_time()

    def _seconds(self) -> float:
        return self.counts.seconds + time.monotonic() - self._since


def ratio(error: float | None, copy_last_error: float | None) -> float | None:
    """Return the one divided by the other, None where that says nothing."""
    return error / copy_last_error if error is not None and copy_last_error else None
