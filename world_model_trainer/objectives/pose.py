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

_LEAST_VARIANCE = 0.01
"""Below this a target counts as constant: a camera that stands still has little to teach."""
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
        """Return the weighted share of ``pose_targets``' variance over the batch that is not read, mean over them."""
        if rollout.poses is None:
            raise ValueError("the pose term needs the poses of the views")
        targets = pose_targets(rollout.poses, self.harmonics)
        errors = F.mse_loss(self.head(rollout.encoded), targets, reduction="none")
        return self.weigh(pose=(errors / targets.var(dim=(0, 1)).clamp_min(_LEAST_VARIANCE)).mean())


def pose_targets(pose: Tensor, harmonics: tuple[int, int, int]) -> Tensor:
    """Map ``pose [..., 3]`` to sin pan, cos pan, tilt (radians), log zoom, then harmonics of all three.

    ``[..., 2·pan + 2 + 2·tilt + zoom]``, of twice the tilt, and for log zoom cosines of half a turn per factor of 3.
    Pan's first harmonic is among the first four already.
    """
    pan, tilt = torch.deg2rad(pose[..., :1]), torch.deg2rad(pose[..., 1:2])
    log_zoom = torch.log(pose[..., 2:].clamp_min(1.0))
    angles = [order * pan for order in range(2, harmonics[0] + 1)]
    angles += [2.0 * order * tilt for order in range(1, harmonics[1] + 1)]
    waves = [part(angle) for angle in angles for part in (torch.sin, torch.cos)]
    waves += [torch.cos(math.pi * order * log_zoom / _ZOOM_SPAN) for order in range(2, harmonics[2] + 2)]
    return torch.cat([torch.sin(pan), torch.cos(pan), tilt, log_zoom, *waves], dim=-1)
