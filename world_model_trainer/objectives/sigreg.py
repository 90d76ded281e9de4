"""Prediction with a sketched test for an isotropic Gaussian (SIGReg).

Balestriero and LeCun, "LeJEPA", arXiv 2511.08544; with actions and at each time step as in "LeWorldModel", arXiv
2603.19312. For random unit vectors u and N samples z,

    SIGReg = mean_u N ∫ w(t) [ (mean cos(t u·z) − φ(t))² + (mean sin(t u·z))² ] dt,   φ(t) = w(t) = exp(−t²/2),

the Epps-Pulley statistic of every projection; the integral over [−3, 3] is twice the trapezoid sum over [0, 3].
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.objectives.base import Objective, Rollout
from world_model_trainer.objectives.cameras import mean_within_cameras
from world_model_trainer.objectives.prediction import prediction_term

_KNOTS, _END = 17, 3.0


class Sigreg(Objective):
    """``L = prediction + λ SIGReg``, at each time step and within each camera by itself."""

    WEIGHTS: ClassVar = {"prediction": 1.0, "sigreg": 0.1}

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        directions = random_directions(rollout.encoded.shape[-1], self.config.slices, rollout.encoded)
        term = partial(sigreg_term, directions=directions)
        return self.weigh(
            prediction=prediction_term(rollout),
            sigreg=mean_within_cameras(term, rollout.encoded, rollout.cameras),
        )


def random_directions(dimensions: int, count: int, like: Tensor) -> Tensor:
    """Draw ``count`` random unit vectors: ``[D, count]``, of the type and on the device of ``like``."""
    return F.normalize(torch.randn(dimensions, count, device=like.device, dtype=like.dtype), dim=0)


def sigreg_term(embeddings: Tensor, directions: Tensor) -> Tensor:
    """Return the statistic of ``embeddings [B, T, D]`` over ``B``, mean over time and ``directions [D, K]``."""
    knots = torch.linspace(0.0, _END, _KNOTS, device=embeddings.device, dtype=embeddings.dtype)
    gaussian = torch.exp(-knots.square() / 2.0)
    angles = (embeddings @ directions).unsqueeze(-1) * knots
    distance = (angles.cos().mean(dim=0) - gaussian).square() + angles.sin().mean(dim=0).square()
    integral = 2.0 * torch.trapezoid(distance * gaussian, knots, dim=-1)
    return len(embeddings) * integral.mean()
