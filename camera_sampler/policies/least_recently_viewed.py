"""Looks where it has not looked for longest, without crossing the circle for it more often than needed."""

from __future__ import annotations

import math
from typing import ClassVar

from camera_sampler.policies.base import Policy
from shared.actions import Action
from shared.pose import Pose, PoseLimits
from shared.viewing import WIDEST, Optics, pan_between, tour

_NEVER = -math.inf


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
        if pose.zoom < WIDEST:
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
            self._limits, self._cells = limits, tour(limits, self._optics)
            self._looked = [_NEVER] * len(self._cells)

    @staticmethod
    def _way(pose: Pose, cell: Pose, limits: PoseLimits) -> tuple[float, float]:
        # Both axes turn at once, so the longer way is what a move takes.
        ways = abs(pan_between(pose, cell, limits)), abs(cell.tilt - pose.tilt)
        return max(ways), min(ways)
