"""An encoder as it was drawn, with a predictor that learns on it: the floor that every objective must clear."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from shared.world_model import WorldModel
from world_model_trainer.objectives.base import Objective, Rollout, Trajectories, encode_views, predict_views
from world_model_trainer.objectives.prediction import prediction_term


class RandomEncoder(Objective):
    """``L = prediction``, with no gradient for the encoder."""

    WEIGHTS: ClassVar = {"prediction": 1.0}

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Predict what the encoder makes of the views without teaching it."""
        with torch.no_grad():
            encoding = encode_views(model, batch)
        return predict_views(model, batch, encoding)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted term by name."""
        return self.weigh(prediction=prediction_term(rollout))
