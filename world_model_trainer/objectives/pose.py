"""The camera's own reading, predicted from what it sees: a label that every PTZ camera gives for free.

Where a scene repeats itself (columns, arcades) nothing else makes the embedding tell one bay from the next.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModelConfig
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout

_TILT_SCALE, _ZOOM_SCALE = 26.0, 0.5
"""Degrees of tilt, and log zoom: about their deviations over what cameras reach."""
_ROOT = math.sqrt(2.0)
"""Makes a sine's deviation one."""
_ZOOM_SPAN = math.log(3.0)


class PoseReading(Objective):
    """A head from the embedding to the pose: add-on ``pose``. Linear by default, so that a linear probe finds it.

    Higher harmonics tell near poses apart that the first cannot, and fill dimensions that it leaves empty.
    """

    WEIGHTS: ClassVar = {"pose": 4.0}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        size, hidden, self.harmonics = world_model.embedding_size, config.pose_hidden, config.pose_harmonics
        targets = pose_targets(torch.ones(1, 3), self.harmonics).shape[-1]
        self.head: nn.Module = nn.Linear(size, targets)
        if hidden:
            self.head = nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, targets))

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted mean squared error over ``pose_targets``."""
        if rollout.poses is None:
            raise ValueError("the pose term needs the poses of the views")
        read = self.head(rollout.encoded)
        return self.weigh(pose=F.mse_loss(read, pose_targets(rollout.poses, self.harmonics)))


def pose_targets(pose: Tensor, harmonics: tuple[int, int, int]) -> Tensor:
    """Map ``pose [..., 3]`` to sin pan, cos pan, tilt, log zoom, then harmonics, of about deviation one.

    ``[..., 2·pan + 2 + 2·tilt + zoom]``, of twice the tilt, and for log zoom cosines of half a turn per factor of 3.
    Pan's first harmonic is among the first four already.
    """
    pan, tilt = torch.deg2rad(pose[..., :1]), torch.deg2rad(pose[..., 1:2])
    log_zoom = torch.log(pose[..., 2:].clamp_min(1.0))
    angles = [order * pan for order in range(1, harmonics[0] + 1)]
    angles += [2.0 * order * tilt for order in range(1, harmonics[1] + 1)]
    waves = [_ROOT * part(angle) for angle in angles for part in (torch.sin, torch.cos)]
    waves += [_ROOT * torch.cos(math.pi * order * log_zoom / _ZOOM_SPAN) for order in range(2, harmonics[2] + 2)]
    return torch.cat([*waves[:2], pose[..., 1:2] / _TILT_SCALE, log_zoom / _ZOOM_SCALE, *waves[2:]], dim=-1)
