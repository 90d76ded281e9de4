"""Prediction with variance and covariance: the terms that keep embeddings from collapsing.

Bardes, Ponce and LeCun, "VICReg", ICLR 2022; over trajectories as in Sobal et al., "Joint Embedding Predictive
Architectures Focus on Slow Features", 2022: statistics are taken over the batch, at each time step by itself; and
within each camera by itself, for the reason given there. Variance over time: Sobal et al., "Learning from Reward-Free
Offline Data: A Case for Planning with Latent Dynamics Models", arXiv 2502.14819.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from world_model_trainer.objectives.base import Objective, Rollout
from world_model_trainer.objectives.cameras import mean_within_cameras
from world_model_trainer.objectives.prediction import prediction_term

_EPSILON = 1e-4


class Vicreg(Objective):
    """``L = prediction + variance + covariance (+ variance over time)`` over open-loop rollouts.

    Prediction counts more than VICReg's 1: with few views the spread terms alone reward learning them by heart.
    """

    WEIGHTS: ClassVar = {"prediction": 8.0, "variance": 4.0, "covariance": 0.15, "variance_over_time": 0.0}

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name; variance over time only if it counts."""
        encoded, cameras = rollout.encoded, rollout.cameras
        terms = {
            "prediction": prediction_term(rollout),
            "variance": mean_within_cameras(variance_term, encoded, cameras),
            "covariance": mean_within_cameras(covariance_term, encoded, cameras),
        }
        if self.weights["variance_over_time"]:
            terms["variance_over_time"] = variance_over_time_term(encoded)
        return self.weigh(**terms)


def variance_term(embeddings: Tensor) -> Tensor:
    """Hinge that is zero once every dimension's standard deviation over the batch is one. ``embeddings [B, T, D]``."""
    deviation = torch.sqrt(embeddings.var(dim=0) + _EPSILON)
    return torch.relu(1.0 - deviation).mean()


def covariance_term(embeddings: Tensor) -> Tensor:
    """Sum of squared covariances of different dimensions over D, mean over time. ``embeddings [B, T, D]``."""
    batch, _, dimensions = embeddings.shape
    centred = (embeddings - embeddings.mean(dim=0)).transpose(0, 1)
    covariance = centred.transpose(1, 2) @ centred / (batch - 1)
    squared = covariance.square()
    off_diagonal = squared.sum(dim=(1, 2)) - squared.diagonal(dim1=1, dim2=2).sum(dim=1)
    return (off_diagonal / dimensions).mean()


def variance_over_time_term(embeddings: Tensor) -> Tensor:
    """Hinge on the standard deviation within each trajectory: what never changes on the way cannot satisfy it."""
    return variance_term(embeddings.transpose(0, 1))
