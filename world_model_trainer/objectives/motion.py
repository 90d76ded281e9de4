"""How far the camera moved, read from two spatial maps: what makes tokens tell geometry in any scene."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.correspondence import Correspondence, pose_change
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout

_FEWEST_TOKENS = 4


class Motion(Objective):
    """A pair of neighbouring views of every second trajectory, in either direction, through their correspondences.

    Add-on ``motion``. It costs more than all the rest for each pair, and half of the pairs teach as much.
    """

    WEIGHTS: ClassVar = {"motion": 4.0}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        self.head: nn.Module = nn.Identity()

    def attach(self, model: WorldModel) -> None:
        """Build the head for the encoder's spatial map. ``ValueError`` where it has none."""
        if model.encoder.tokens < _FEWEST_TOKENS:
            raise ValueError("motion needs an encoder with a spatial map")
        device = next(model.parameters()).device
        self.head = Correspondence(model.encoder.tokens, model.encoder.token_width).to(device)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted Huber loss over moves in ``MOVE_SCALE``: far leaps leave nothing to find again."""
        if rollout.poses is None or rollout.tokens is None:
            raise ValueError("the motion term needs poses and spatial maps of the views")
        trajectories = len(rollout.poses)
        rows = torch.randperm(trajectories, device=rollout.poses.device)[: (trajectories + 1) // 2]
        first = torch.randint(rollout.poses.shape[1] - 1, (len(rows),), device=rows.device)
        back = torch.randint(2, (len(rows),), device=rows.device)
        start, end = first + back, first + 1 - back
        read = self.head(rollout.tokens[rows, start], rollout.tokens[rows, end])
        asked = pose_change(rollout.poses[rows, start], rollout.poses[rows, end])
        return self.weigh(motion=2.0 * F.huber_loss(read, asked, delta=0.5))
