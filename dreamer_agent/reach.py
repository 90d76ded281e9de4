"""Where moves lead, for many cameras' poses at once: the vectorised twin of ``shared.pose.PoseLimits.moved``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.actions import ActionTable
from shared.pose import Pose, PoseLimits


def pose_tensor(poses: Sequence[Pose]) -> Tensor:
    """Return ``[B, 3]`` float32: pan and tilt in degrees, zoom as magnification."""
    return torch.tensor([pose.as_tuple() for pose in poses], dtype=torch.float32)


def limits_tensor(limits: Sequence[PoseLimits]) -> Tensor:
    """Return ``[B, 5]`` float32: least and greatest pan, least and greatest tilt, greatest zoom."""
    rows = [(each.pan_min, each.pan_max, each.tilt_min, each.tilt_max, each.zoom_max) for each in limits]
    return torch.tensor(rows, dtype=torch.float32)


def action_tensor(table: ActionTable) -> Tensor:
    """Return ``[A, 3]`` float32: every action's change of pan, tilt and zoom."""
    return torch.tensor(table.deltas(), dtype=torch.float32)


def wrap_pan(degrees: Tensor) -> Tensor:
    """Map angles in degrees to [−180, 180)."""
    wrapped = torch.remainder(degrees + 180.0, 360.0) - 180.0
    # The remainder of a tiny negative number rounds to 360 itself, which is the other end of the half-open interval.
    wrapped = torch.where(wrapped >= 180.0, wrapped - 360.0, wrapped)
    # What is canonical stays as it is: adding 180 and taking it away again would round.
    return torch.where((degrees >= -180.0) & (degrees < 180.0), degrees, wrapped)


def unwrapped(pan: Tensor, limits: Tensor) -> Tensor:
    """Return ``pan`` as the turn that lies nearest to the middle of what ``limits [..., 5]`` reach."""
    return pan - 360.0 * torch.round((pan - (limits[..., 0] + limits[..., 1]) / 2.0) / 360.0)


def reach(start: Tensor, change: Tensor, limits: Tensor) -> Tensor:
    """Return where moves lead, ``[B, 3]``: from ``start [B, 3]`` by ``change [B, 3]`` under ``limits [B, 5]``.

    ``shared.pose.PoseLimits`` says what that is.
    """
    pan_min, pan_max, tilt_min, tilt_max, zoom_max = limits.unbind(-1)
    pan, tilt, zoom = start.unbind(-1)
    pan, tilt, zoom = (torch.stack([unwrapped(pan, limits), tilt, zoom], dim=-1) + change).unbind(-1)
    full_circle = (pan_min <= -180.0) & (pan_max >= 180.0)
    pan = wrap_pan(torch.where(full_circle, pan, torch.clamp(pan, pan_min, pan_max)))
    return torch.stack(
        [pan, torch.clamp(tilt, tilt_min, tilt_max), torch.minimum(zoom.clamp_min(1.0), zoom_max)], dim=-1
    )
