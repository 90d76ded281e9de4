"""The world model: one seam for whoever trains it, dreams from it, or steers by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig
from shared.world_model.encoder import ConvEncoder, Encoding
from shared.world_model.predictor import Predictor


@dataclass(frozen=True)
class Prediction:
    """The next ``embedding [B, D]`` and the ``surprise [B]`` to expect from it.

    Surprise is the squared error of the predicted embedding, mean over its dimensions, as the surprise head expects
    it. The head learns the logarithm, so this is the geometric mean over what may happen.
    """

    embedding: Tensor
    log_surprise: Tensor

    @property
    def surprise(self) -> Tensor:
        """Expected squared error, ``[B]``, never negative."""
        return self.log_surprise.float().exp()


class WorldModel(nn.Module):
    """A joint-embedding predictive architecture conditioned on pose and action."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(config)
        self.predictor = Predictor(config)

    def encode(self, images: Tensor) -> Encoding:
        """Encode ``images [B, 3, S, S]``, uint8 or floats in [0, 1]."""
        encoding: Encoding = self.encoder(images)
        return encoding

    def predict(self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor) -> Prediction:
        """Predict the embedding after one move.

        ``embedding [B, D]``; ``pose`` and ``next_pose [B, 3]``: pan and tilt in degrees, zoom as magnification;
        ``action [B, 3]``: the change that was asked for, in the same units.
        """
        return Prediction(*self.predictor(embedding, pose, action, next_pose))

    def rollout(self, embedding: Tensor, poses: Tensor, actions: Tensor) -> Tensor:
        """Predict open loop along ``poses [B, T+1, 3]`` under ``actions [B, T, 3]``; returns ``[B, T, D]``."""
        return torch.stack([step.embedding for step in self.rollout_steps(embedding, poses, actions)], dim=1)

    def rollout_steps(self, embedding: Tensor, poses: Tensor, actions: Tensor) -> list[Prediction]:
        """As ``rollout``, with the surprise that is expected at every step."""
        steps: list[Prediction] = []
        for step in range(actions.shape[1]):
            prediction = self.predict(embedding, poses[:, step], actions[:, step], poses[:, step + 1])
            steps.append(prediction)
            embedding = prediction.embedding
        return steps
