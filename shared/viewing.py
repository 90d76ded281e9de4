"""What a view shows of all that a camera can reach: optics, the poses of a tour, and the way from pose to pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.pose import Pose, PoseLimits, wrap_pan

WIDEST = 2.0
"""A view at this zoom or beyond shows too little of a cell to count as a look at it."""


@dataclass(frozen=True)
class Optics:
    """What a view at zoom 1 shows: degrees across and upright, and the share of it that neighbours shall share."""

    across: float = 60.0
    upright: float = 36.0
    overlap: float = 0.3

    @classmethod
    def of_picture(cls, across: float, width: int, height: int, overlap: float) -> Optics:
        """Make the optics of a camera with square pixels."""
        half = math.tan(math.radians(across / 2.0)) * height / width
        return cls(across, 2.0 * math.degrees(math.atan(half)), overlap)


def stations(first: float, last: float, steps: int) -> list[float]:
    """Return where ``steps`` equal steps from ``first`` to ``last`` lead, both ends included."""
    return [first + (last - first) * index / steps for index in range(steps + 1)]


def pan_between(pose: Pose, target: Pose, limits: PoseLimits) -> float:
    """Return the degrees of pan from one pose to another: the shorter way where the camera turns all the way round."""
    pan = target.pan - pose.pan
    return wrap_pan(pan) if limits.full_circle else pan


def tour(limits: PoseLimits, optics: Optics) -> list[Pose]:
    """Return poses whose views at zoom 1 overlap and together show everything in reach, row by row from the top.

    The further a row is from the horizon, the fewer poses it needs.
    """
    rows = _steps(limits.tilt_max - limits.tilt_min, (1.0 - optics.overlap) * optics.upright)
    return [
        limits.reach(pan, tilt, 1.0)
        for tilt in stations(limits.tilt_max, limits.tilt_min, rows)
        for pan in _columns(limits, tilt, optics)
    ]


def _columns(limits: PoseLimits, tilt: float, optics: Optics) -> list[float]:
    # Seen from above, a tilted view is narrowest at its edge towards the horizon.
    rise, half = math.radians(abs(tilt)), math.tan(math.radians(optics.across / 2.0))
    edge = math.cos(rise) + math.sin(rise) * math.tan(math.radians(optics.upright / 2.0))
    narrowest = 2.0 * math.degrees(math.atan2(half, edge))
    columns = _steps(limits.pan_max - limits.pan_min, (1.0 - optics.overlap) * min(narrowest, optics.across))
    pans = stations(limits.pan_min, limits.pan_max, columns)
    return pans[:-1] if limits.full_circle else pans


def _steps(span: float, step: float) -> int:
    return max(1, math.ceil(span / step - 1e-9))
