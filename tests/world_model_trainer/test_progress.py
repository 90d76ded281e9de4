"""What the trainer shows of its progress."""

from __future__ import annotations

import math

import pytest
import torch

from shared.telemetry import Metrics
from world_model_trainer.progress import RANK_VIEWS, HeldOut, Progress
from world_model_trainer.training import FreshErrors


def errors(embeddings: torch.Tensor) -> FreshErrors:
    each = torch.ones(len(embeddings))
    return FreshErrors(error=each, copy_last_error=2.0 * each, predicted=each, embeddings=embeddings)


def rank_shown(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("ptz_world_model_trainer_effective_rank") or 0.0


def test_effective_rank_of_held_out_views_is_shown() -> None:
    metrics = Metrics("world-model-trainer")
    progress = Progress(metrics)
    assert math.isnan(rank_shown(metrics))
    embeddings = torch.zeros(4096, 16)
    embeddings[:, :5] = torch.randn(4096, 5, generator=torch.Generator().manual_seed(0))
    progress.held_out(HeldOut.of(errors(embeddings)))
    assert rank_shown(metrics) == pytest.approx(5.0, abs=0.05)
    assert metrics.registry.get_sample_value("ptz_world_model_trainer_embedding_dimensions") == 16
    progress.held_out(HeldOut.of(errors(torch.ones(RANK_VIEWS, 16) * torch.rand(RANK_VIEWS, 1))))
    assert rank_shown(metrics) == pytest.approx(1.0, abs=0.01), "collapsed to a line"


def test_of_too_few_views_there_is_no_rank() -> None:
    assert HeldOut.of(errors(torch.rand(RANK_VIEWS - 1, 16))).effective_rank is None
    assert HeldOut.of(None).effective_rank is None
