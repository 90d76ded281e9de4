"""Inverse dynamics of the dots: which action lies between two states?"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModelConfig
from world_model_trainer.laboratory.moving_dots.networks import ACTION, frames_of
from world_model_trainer.objectives import Objective, ObjectiveConfig, Rollout


class DotsInverseDynamics(Objective):
    """As in the study, one linear layer reads (ẑ_t, z_{t+1}), the state that was dreamt and the one that came.

    So the predictor learns by it, too. Add-on ``idm``.
    """

    WEIGHTS: ClassVar = {"inverse_dynamics": 1.0}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        self.head = nn.Linear(2 * world_model.embedding_size, ACTION)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted mean squared error of the actions between frames that are neighbours."""
        if rollout.poses is None:
            raise ValueError("inverse dynamics needs the frames' numbers")
        frames = frames_of(rollout.poses)
        neighbours = (frames[1:] - frames[:-1] == 1).nonzero().squeeze(1)
        before = torch.cat([rollout.encoded[:, :1], rollout.predicted[:, :-1]], dim=1)[:, neighbours]
        read = self.head(torch.cat([before, rollout.encoded[:, neighbours + 1]], dim=-1))
        return self.weigh(inverse_dynamics=F.mse_loss(read, rollout.actions[:, frames[neighbours]]))
