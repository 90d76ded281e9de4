"""The oracle warp: the first view as a rotated and zoomed camera would show it, where it still shows anything.

The homography of a pinhole that turns about its optical centre, as the simulated camera does: pan is an offset of the
longitude, tilt a turn about the horizontal axis, zoom a factor of the focal length. Beyond the first view's edge its
border is repeated. It knows the geometry and no picture but the first: a floor that a model has to come near.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_BATCH = 256


def warp(
    images: Tensor, poses: Tensor, next_poses: Tensor, field_of_view: float, aspect: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Show ``images [N, 3, S, S]`` uint8, taken at ``poses [N, 3]``, as from ``next_poses [N, 3]``.

    Returns the pictures, uint8, and the share ``[N]`` of their pixels that the image covers. ``field_of_view`` in
    degrees at zoom 1; ``aspect`` is width over height of what was squeezed into the square images.
    """
    pictures, shares = [], []
    for at in range(0, len(images), _BATCH):
        chunk = slice(at, at + _BATCH)
        grid, covered = _grid(poses[chunk], next_poses[chunk], images.shape[-1], field_of_view, aspect)
        moved = F.grid_sample(images[chunk].float(), grid, padding_mode="border", align_corners=False)
        pictures.append(moved.round().clamp(0, 255).to(torch.uint8))
        shares.append(covered.float().mean(dim=(1, 2)))
    return torch.cat(pictures), torch.cat(shares)


def _grid(poses: Tensor, next_poses: Tensor, size: int, field_of_view: float, aspect: float) -> tuple[Tensor, Tensor]:
    """Return where each pixel of the new view lies in the old one: ``[N, S, S, 2]`` in [−1, 1], and whether inside."""
    tangent = math.tan(math.radians(field_of_view) / 2.0)
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) * (2.0 / size) - 1.0
    reach, old_reach = (tangent / pose[:, 2].double()[:, None, None] for pose in (next_poses, poses))
    right, up = steps[None, None, :] * reach, -steps[None, :, None] * reach / aspect
    tilt, old_tilt = (torch.deg2rad(pose[:, 1].double())[:, None, None] for pose in (next_poses, poses))
    turn = torch.deg2rad((next_poses[:, 0] - poses[:, 0]).double())[:, None, None]
    # The new camera's rays in the world (x right of its pan, y up, z ahead), then in the old camera.
    ahead, height = torch.cos(tilt) - torch.sin(tilt) * up, torch.sin(tilt) + torch.cos(tilt) * up
    aside, ahead = (
        torch.cos(turn) * right + torch.sin(turn) * ahead,
        torch.cos(turn) * ahead - torch.sin(turn) * right,
    )
    depth = torch.cos(old_tilt) * ahead + torch.sin(old_tilt) * height
    height = torch.cos(old_tilt) * height - torch.sin(old_tilt) * ahead
    before = depth > 1e-6
    scale = torch.where(before, depth, torch.ones_like(depth)) * old_reach
    grid = torch.stack([aside / scale, -height / scale * aspect], dim=-1)
    # What lies behind the old camera is nowhere in its view.
    grid = torch.where(before.unsqueeze(-1), grid, torch.full_like(grid, 2.0))
    inside = before & (grid.abs() <= 1.0).all(dim=-1)
    return grid.clamp(-2.0, 2.0).float(), inside
