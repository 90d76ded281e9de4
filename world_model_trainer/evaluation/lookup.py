"""The look-up table: whoever has stored views with their poses can answer with the nearest one, without any model.

In a static scene that is the strong floor. Distance is that between optical axes in degrees together with 30° per
factor e of zoom, which changes as much of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from world_model_trainer.evaluation.angles import wrap

ZOOM_DEGREES = 30.0
_BATCH = 256


class PoseLookup:
    """Stored ``poses [N, 3]`` and what is known there, ``values [N, D]``."""

    def __init__(self, poses: Tensor, values: Tensor) -> None:
        self._poses, self._values = poses, values

    def __len__(self) -> int:
        return len(self._poses)

    def nearest(self, poses: Tensor) -> Tensor:
        """Return the index ``[M]`` of the stored pose nearest to each of ``poses [M, 3]``."""
        return torch.cat([self._nearest(poses[at : at + _BATCH]) for at in range(0, len(poses), _BATCH)])

    def __call__(self, poses: Tensor) -> Tensor:
        """Return what is known at the stored pose nearest to each of ``poses [..., 3]``: ``[..., D]``."""
        found = self._values[self.nearest(poses.reshape(-1, 3))]
        return found.reshape(*poses.shape[:-1], self._values.shape[-1])

    def _nearest(self, poses: Tensor) -> Tensor:
        asked, stored = poses[:, None], self._poses[None]
        # Pan counts as it turns the optical axis: less, the higher the camera looks.
        across = wrap(stored[..., 0] - asked[..., 0]) * torch.cos(torch.deg2rad(asked[..., 1]))
        closer = ZOOM_DEGREES * torch.log(stored[..., 2] / asked[..., 2])
        squares = across.square() + (stored[..., 1] - asked[..., 1]).square() + closer.square()
        return squares.argmin(dim=1)
