"""A sweep over everything in reach."""

from __future__ import annotations

from typing import ClassVar

from camera_sampler.policies.base import Policy
from shared.actions import Action
from shared.pose import Pose, PoseLimits
from shared.viewing import stations

RASTER_PAN, RASTER_TILT = 20.0, 15.0
"""The sweep's steps in degrees: views at zoom 1 overlap by two thirds across and, at 16:9, by half from row to row."""


class Raster(Policy):
    """A sweep over everything in reach, row by row, every second row backwards; then from the start again.

    An episode begins where the sweep has got to, so that episodes of any length cover the whole.
    """

    name: ClassVar[str] = "raster"

    def __init__(self) -> None:
        self._next = 0

    def begin(self, limits: PoseLimits) -> Pose:
        """See ``Policy.begin``."""
        return self._advance(limits)

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """See ``Policy.choose``."""
        return self.move(pose, self._advance(limits), limits)

    def _advance(self, limits: PoseLimits) -> Pose:
        columns = stations(
            limits.pan_min, limits.pan_max, max(1, round((limits.pan_max - limits.pan_min) / RASTER_PAN))
        )
        if limits.full_circle:
            columns.pop()  # the last is the first
        rows = stations(
            limits.tilt_max, limits.tilt_min, max(1, round((limits.tilt_max - limits.tilt_min) / RASTER_TILT))
        )
        row, column = divmod(self._next % (len(columns) * len(rows)), len(columns))
        self._next += 1
        return limits.reach(columns[-1 - column if row % 2 else column], rows[row], 1.0)
