"""Where moves lead, for many cameras' poses at once: the vectorised twin of ``shared.pose.PoseLimits.reach``."""

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
    return torch.where(wrapped >= 180.0, wrapped - 360.0, wrapped)


def reach(wanted: Tensor, limits: Tensor) -> Tensor:
    """Return the reachable poses ``[B, 3]`` nearest to ``wanted [B, 3]`` under ``limits [B, 5]``.

    Pan wraps where the camera turns all the way round and stops at its limits elsewhere; tilt and zoom stop.
    """
    pan_min, pan_max, tilt_min, tilt_max, zoom_max = limits.unbind(-1)
    pan, tilt, zoom = wanted.unbind(-1)
    full_circle = pan_max - pan_min >= 360.0
    pan = wrap_pan(torch.where(full_circle, pan, torch.clamp(pan, pan_min, pan_max)))
    return torch.stack(
        [pan, torch.clamp(tilt, tilt_min, tilt_max), torch.minimum(zoom.clamp_min(1.0), zoom_max)], dim=-1
    )
