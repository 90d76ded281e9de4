"""Arithmetic of poses: degrees of pan and tilt, zoom as magnification, last axis ``[…, 3]`` everywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def wrap(degrees: Tensor) -> Tensor:
    """Map angles in degrees to [−180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0


def difference(pose: Tensor, other: Tensor) -> Tensor:
    """Return what leads from ``pose [..., 3]`` to ``other [..., 3]``: wrapped pan, tilt, and magnification."""
    change = other - pose
    return torch.cat([wrap(change[..., :1]), change[..., 1:]], dim=-1)


def view_width(zoom: Tensor, field_of_view: float) -> Tensor:
    """Return the horizontal field of view in degrees at ``zoom [...]``, for a pinhole with this one at zoom 1."""
    return 2.0 * torch.rad2deg(torch.atan(math.tan(math.radians(field_of_view) / 2.0) / zoom))


def degrees_between(pose: Tensor, other: Tensor) -> Tensor:
    """Return the great-circle angle in degrees between optical axes, ``[...]``; only pan and tilt are read."""
    tilt, other_tilt = torch.deg2rad(pose[..., 1]), torch.deg2rad(other[..., 1])
    half_tilt, half_pan = (other_tilt - tilt) / 2.0, torch.deg2rad(other[..., 0] - pose[..., 0]) / 2.0
    haversine = torch.sin(half_tilt).square() + torch.cos(tilt) * torch.cos(other_tilt) * torch.sin(half_pan).square()
    return torch.rad2deg(2.0 * torch.asin(torch.sqrt(haversine.clamp(0.0, 1.0))))


def pose_targets(poses: Tensor) -> Tensor:
    """Return ``[N, 4]``: sine and cosine of pan, tilt in degrees, logarithm of zoom."""
    pan = torch.deg2rad(poses[:, 0])
    return torch.stack([pan.sin(), pan.cos(), poses[:, 1], poses[:, 2].log()], dim=1)


def poses_from_targets(targets: Tensor) -> Tensor:
    """Undo ``pose_targets``, for predictions: ``[N, 4]`` to ``[N, 3]``."""
    pan = torch.rad2deg(torch.atan2(targets[:, 0], targets[:, 1]))
    return torch.stack([pan, targets[:, 2], targets[:, 3].exp()], dim=1)
