"""Looks where it has not looked for longest, without crossing the circle for it more often than needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from camera_sampler.policies.base import Policy
from camera_sampler.policies.raster import stations
from shared.actions import Action
from shared.pose import Pose, PoseLimits

_NEVER = -math.inf
_WIDEST = 2.0
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


def cells(limits: PoseLimits, optics: Optics) -> list[Pose]:
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


class LeastRecentlyViewed(Policy):
    """Goes to the nearest of the cells that nobody has looked at for about longest.

    About: as long as the oldest cell, less half as many looks as there are cells. So of C cells none waits for more
    than 1.5 C of this policy's views, and in the beginning for no more than C. Views that an agent chose count,
    too. The memory does not outlive the process: a restart begins anew.
    """

    name: ClassVar[str] = "least-recently-viewed"

    def __init__(self, optics: Optics) -> None:
        self._optics = optics
        self._cells: list[Pose] = []
        self._looked: list[float] = []
        """When each cell was looked at last, in looks."""
        self._limits: PoseLimits | None = None
        self._looks = 0
        self._under_way = False
        """Whether the newest look is a move that no view has come of yet."""
        self._at: Pose | None = None

    def begin(self, limits: PoseLimits) -> Pose:
        """See ``Policy.begin``."""
        return self._next(self._at, limits)

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """See ``Policy.choose``."""
        return self.move(pose, self._next(pose, limits), limits)

    def saw(self, pose: Pose, limits: PoseLimits) -> None:
        """See ``Policy.saw``."""
        self._lay_out(limits)
        if not self._under_way:
            self._looks += 1
        self._under_way, self._at = False, pose
        if pose.zoom < _WIDEST:
            self._note(min(range(len(self._cells)), key=lambda cell: self._way(pose, self._cells[cell], limits)))

    def _next(self, pose: Pose | None, limits: PoseLimits) -> Pose:
        self._lay_out(limits)
        latest = min(self._looked) + len(self._cells) / 2.0
        due = [cell for cell, looked in enumerate(self._looked) if looked <= latest]
        chosen = due[0] if pose is None else min(due, key=lambda cell: self._way(pose, self._cells[cell], limits))
        # Noted although nothing was seen yet: a cell that the camera never gets to must not hold it for ever.
        self._looks, self._under_way = self._looks + 1, True
        self._note(chosen)
        return self._cells[chosen]

    def _note(self, cell: int) -> None:
        self._looked[cell] = self._looks

    def _lay_out(self, limits: PoseLimits) -> None:
        if limits != self._limits:
            self._limits, self._cells = limits, cells(limits, self._optics)
            self._looked = [_NEVER] * len(self._cells)

    @staticmethod
    def _way(pose: Pose, cell: Pose, limits: PoseLimits) -> tuple[float, float]:
        # Both axes turn at once, so the longer way is what a move takes.
        ways = abs(limits.pan_between(pose, cell)), abs(cell.tilt - pose.tilt)
        return max(ways), min(ways)
