"""Floors of the other kind: what the networks can do when they are told where the dot is."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.laboratory.moving_dots.data import SIDE
from world_model_trainer.objectives import Objective, ObjectiveConfig, Rollout, Trajectories

_SCALE = 6.293


class Supervised(Objective):
    """A bias-free linear layer reads the location from every rolled-out state: the probe's own loss."""

    WEIGHTS: ClassVar = {"location": 1.0}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        self.head = nn.Linear(world_model.embedding_size, 2, bias=False)

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Encode the first frame alone: the others are not asked for."""
        first = model.encode(batch.images[:, 0]).embedding.float()
        steps = model.rollout_steps(first, batch.poses, batch.actions)
        predicted = torch.stack([step.embedding for step in steps], dim=1)
        return Rollout(first.unsqueeze(1), predicted, predicted[..., 0].detach(), batch.actions, poses=batch.poses)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted mean squared error of locations; they lie where a camera's poses would."""
        if rollout.poses is None:
            raise ValueError("supervision needs locations")
        states = torch.cat([rollout.encoded[:, :1], rollout.predicted], dim=1)
        wanted = (rollout.poses[..., :2] - (SIDE - 1) / 2.0) / _SCALE
        return self.weigh(location=F.mse_loss(self.head(states), wanted))
