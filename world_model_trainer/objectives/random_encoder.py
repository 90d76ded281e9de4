"""An encoder as it was drawn, with a predictor that learns on it: the floor that every objective must clear."""

from __future__ import annotations

import torch

from shared.world_model import WorldModel
from world_model_trainer.objectives.base import Rollout, Trajectories, encode_views, predict_views
from world_model_trainer.objectives.prediction_alone import PredictionAlone


class RandomEncoder(PredictionAlone):
    """``L = prediction``, with no gradient for the encoder."""

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Predict what the encoder makes of the views without teaching it."""
        with torch.no_grad():
            encoding = encode_views(model, batch)
        return predict_views(model, batch, encoding)
