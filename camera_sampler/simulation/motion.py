"""How a simulated camera moves: finite speed on each axis, a wobble that dies away, limits.

The position is a function of the time that the caller passes in; nothing here reads a clock, so tests need not sleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.pose import Pose, PoseLimits

WOBBLE_DEGREES = 0.03
"""How far pan and tilt swing when a move ends; the swing is gone after the settle time."""
_WOBBLE_SWINGS = 2.5


@dataclass(frozen=True)
class Speeds:
    """Degrees a second of pan and tilt, magnification a second of zoom, and seconds from arrival to standing still."""

    pan: float = 120.0
    tilt: float = 90.0
    zoom: float = 2.0
    settle: float = 0.3


@dataclass(frozen=True)
class _Move:
    start: Pose
    pan: float
    """Signed degrees on the way taken, the shorter one where the camera turns all the way round."""
    target: Pose
    began: float


class Motion:
    """One camera's mechanics. A new move begins where the old one has got to."""

    def __init__(self, limits: PoseLimits, speeds: Speeds, start: Pose) -> None:
        self.limits, self.speeds = limits, speeds
        self._move = _Move(start, 0.0, start, -math.inf)

    @property
    def target(self) -> Pose:
        """Where the camera is going, or stands."""
        return self._move.target

    def move_to(self, pose: Pose, now: float) -> Pose:
        """Begin to move to the reachable pose nearest to ``pose``; return that pose."""
        start = self._without_wobble(now)
        target = self.limits.reach(*pose.as_tuple())
        self._move = _Move(start, self.limits.pan_between(start, target), target, now)
        return target

    def arrival(self) -> float:
        """Return when the last axis arrives; the camera wobbles from then on."""
        move, speeds = self._move, self.speeds
        if math.isinf(move.began):
            return move.began
        return move.began + max(
            abs(move.pan) / speeds.pan,
            abs(move.target.tilt - move.start.tilt) / speeds.tilt,
            abs(move.target.zoom - move.start.zoom) / speeds.zoom,
        )

    def still_at(self) -> float:
        """Return when the camera stands still."""
        return self.arrival() + self.speeds.settle

    def pose_at(self, now: float) -> Pose:
        """Return where the camera is at ``now``."""
        pose, since = self._without_wobble(now), now - self.arrival()
        if not 0.0 <= since < self.speeds.settle or pose == self._move.start:
            return pose
        left = 1.0 - since / self.speeds.settle
        swing = WOBBLE_DEGREES * left * math.sin(2.0 * math.pi * _WOBBLE_SWINGS * left)
        return self.limits.moved(pose, swing, -swing)

    def _without_wobble(self, now: float) -> Pose:
        move, elapsed = self._move, now - self._move.began
        if now >= self.arrival():
            return move.target
        return self.limits.moved(
            move.start,
            _towards(move.pan, self.speeds.pan * elapsed),
            _towards(move.target.tilt - move.start.tilt, self.speeds.tilt * elapsed),
            _towards(move.target.zoom - move.start.zoom, self.speeds.zoom * elapsed),
        )


def _towards(distance: float, travelled: float) -> float:
    return math.copysign(min(abs(distance), max(0.0, travelled)), distance)
