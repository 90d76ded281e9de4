"""The default objective: multi-step prediction, variance and covariance, inverse dynamics, and the surprise head."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.objectives.base import Objective, Rollout
from world_model_trainer.objectives.inverse_dynamics import InverseDynamics
from world_model_trainer.objectives.vicreg import covariance_term, variance_term

_EPSILON = 1e-6


class VicregWeights(BaseModel):
    """How much each term counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction: float = Field(
        default=4.0,
        ge=0.0,
        description="above VICReg's 1: with few views the spread terms alone reward learning them by heart",
    )
    variance: float = Field(default=1.0, ge=0.0)
    covariance: float = Field(default=0.04, ge=0.0)
    inverse_dynamics: float = Field(default=0.5, ge=0.0)
    surprise: float = Field(default=0.1, ge=0.0)


class VicregWithInverseDynamics(Objective):
    """``L = prediction + variance + covariance + inverse dynamics + surprise``, weighted, over open-loop rollouts."""

    def __init__(self, embedding_size: int, weights: VicregWeights | None = None) -> None:
        super().__init__()
        self.weights = weights or VicregWeights()
        self.inverse_dynamics = InverseDynamics(embedding_size)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        weights = self.weights
        target = rollout.encoded[:, 1:]
        error = (rollout.predicted - target).square().mean(dim=-1)
        return {
            "prediction": weights.prediction * error.mean(),
            "variance": weights.variance * variance_term(rollout.encoded),
            "covariance": weights.covariance * covariance_term(rollout.encoded),
            "inverse_dynamics": weights.inverse_dynamics * self.inverse_dynamics(rollout.encoded, rollout.actions),
            "surprise": weights.surprise * surprise_term(rollout.log_surprise, error),
        }


def surprise_term(log_surprise: Tensor, error: Tensor) -> Tensor:
    """Squared difference of expected and real log error, sample by sample; the error itself gets no gradient."""
    return F.mse_loss(log_surprise, torch.log(error.detach() + _EPSILON))
