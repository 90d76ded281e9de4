"""Poses and actions as networks see them: Fourier features of angles and of log zoom.

Raw degrees through a linear layer put 359° and 1° far apart and let pan drown everything else; harmonics of the angle
close the circle and separate small moves from large ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ACTION_SCALE = (10.0, 10.0, 0.2)
"""Degrees, degrees and magnification that count as a large move, so that actions come out near one."""


def pose_features(pose: Tensor, pan_harmonics: int, tilt_harmonics: int, zoom_harmonics: int) -> Tensor:
    """Map ``pose [..., 3]`` (degrees, degrees, magnification) to ``[..., 2·(pan + tilt + zoom harmonics)]`` in [−1, 1].

    Pan repeats after 360°. Tilt spans only 180°, so its harmonics are of twice the angle. Log zoom repeats after a
    factor of 32, beyond what a single lens does.
    """
    pan, tilt = torch.deg2rad(pose[..., 0]), 2.0 * torch.deg2rad(pose[..., 1])
    zoom = torch.log(pose[..., 2].clamp_min(1.0)) * (2.0 * math.pi / math.log(32.0))
    return torch.cat(
        [_harmonics(pan, pan_harmonics), _harmonics(tilt, tilt_harmonics), _harmonics(zoom, zoom_harmonics)], dim=-1
    )


def action_features(action: Tensor) -> Tensor:
    """Map ``action [..., 3]`` (changes in degrees, degrees, magnification) to ``[..., 6]``.

    The second half compresses, so that a move of a fifth of a degree does not vanish beside one of ten.
    """
    scaled = action / action.new_tensor(ACTION_SCALE)
    return torch.cat([scaled, torch.sign(scaled) * torch.log1p(50.0 * scaled.abs()) / math.log(51.0)], dim=-1)


def move_size(pose: Tensor, next_pose: Tensor) -> Tensor:
    """Return how large the move from ``pose [..., 3]`` to ``next_pose [..., 3]`` is: 0 none, 1 a large one."""
    turn = (next_pose[..., 0] - pose[..., 0] + 180.0) % 360.0 - 180.0
    rise = next_pose[..., 1] - pose[..., 1]
    zoom = torch.log(next_pose[..., 2].clamp_min(1.0) / pose[..., 2].clamp_min(1.0))
    scale = pose.new_tensor(ACTION_SCALE)
    squares = (turn / scale[0]).square() + (rise / scale[1]).square() + (zoom / scale[2]).square()
    # The root has no derivative at zero, and poses are data: nothing flows back through here anyway.
    return torch.sqrt(squares).detach()


def _harmonics(angle: Tensor, count: int) -> Tensor:
    orders = torch.arange(1, count + 1, device=angle.device, dtype=angle.dtype)
    angles = angle.unsqueeze(-1) * orders
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)
