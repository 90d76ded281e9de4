"""Prediction and nothing else: what collapses by itself, and with ``idm`` the sensorimotor world model."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from world_model_trainer.objectives.base import Objective, Rollout
from world_model_trainer.objectives.prediction import prediction_term


class PredictionAlone(Objective):
    """``L = prediction``. With ``idm``, inverse dynamics alone keeps it from collapse (arXiv 2606.20104)."""

    WEIGHTS: ClassVar = {"prediction": 1.0}

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted term by name."""
        return self.weigh(prediction=prediction_term(rollout))
