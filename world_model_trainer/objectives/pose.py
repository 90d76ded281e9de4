"""The camera's own reading, predicted from what it sees: a label that every PTZ camera gives for free.

Where a scene repeats itself (columns, arcades) nothing else makes the embedding tell one bay from the next.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModelConfig
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout

_TILT_SCALE, _ZOOM_SCALE = 30.0, 0.5
"""Degrees of tilt, and log zoom, that count as much as one radian's sine."""


class PoseReading(Objective):
    """A head from the embedding to the pose: add-on ``pose``. Linear by default, so that a linear probe finds it."""

    WEIGHTS: ClassVar = {"pose": 4.0}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        size, hidden = world_model.embedding_size, config.pose_hidden
        self.head: nn.Module = nn.Linear(size, 4)
        if hidden:
            self.head = nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, 4))

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted mean squared error over ``pose_targets``."""
        if rollout.poses is None:
            raise ValueError("the pose term needs the poses of the views")
        return self.weigh(pose=F.mse_loss(self.head(rollout.encoded), pose_targets(rollout.poses)))


def pose_targets(pose: Tensor) -> Tensor:
    """Map ``pose [..., 3]`` to ``[..., 4]``: sin pan, cos pan, tilt and log zoom, each of about the same size."""
    pan = torch.deg2rad(pose[..., 0])
    zoom = torch.log(pose[..., 2].clamp_min(1.0)) / _ZOOM_SCALE
    return torch.stack([torch.sin(pan), torch.cos(pan), pose[..., 1] / _TILT_SCALE, zoom], dim=-1)
