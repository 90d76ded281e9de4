"""Where to look without an agent: PTZJEPA's random walk, and a sweep. Baselines, and what ``follow`` falls back to."""

from __future__ import annotations

import random
from typing import Protocol

from shared.actions import Action
from shared.pose import Pose, PoseLimits, wrap_pan

PAN_TILT_MOVES = (-10.0, -2.0, -0.2, 0.0, 0.2, 2.0, 10.0)
"""What the random walk adds to pan and tilt, in degrees; every value is as likely as any other."""
ZOOM_MOVES = (-0.2, -0.1, 0.0, 0.1, 0.2)
RASTER_PAN, RASTER_TILT = 20.0, 15.0
"""The sweep's steps in degrees: views at zoom 1 overlap by two thirds across and, at 16:9, by half from row to row."""


class Policy(Protocol):
    """Chooses where an episode begins and how it goes on."""

    @property
    def name(self) -> str:
        """What views and metrics call it."""

    def begin(self, limits: PoseLimits) -> Pose:
        """Return the pose at which a new episode begins."""

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """Return the next move of a camera that stands at ``pose``."""


class RandomWalk:
    """PTZJEPA's: a random pose, zoomed out, then independent random moves on all three axes."""

    name = "random-walk"

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def begin(self, limits: PoseLimits) -> Pose:
        """See ``Policy.begin``."""
        return limits.reach(
            self._rng.uniform(limits.pan_min, limits.pan_max), self._rng.uniform(limits.tilt_min, limits.tilt_max), 1.0
        )

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """See ``Policy.choose``. It looks at neither pose nor limits: the camera clamps."""
        return Action(
            name="random",
            pan=self._rng.choice(PAN_TILT_MOVES),
            tilt=self._rng.choice(PAN_TILT_MOVES),
            zoom=self._rng.choice(ZOOM_MOVES),
        )


class Raster:
    """A sweep over everything in reach, row by row, every second row backwards; then from the start again.

    An episode begins where the sweep has got to, so that episodes of any length cover the whole.
    """

    name = "raster"

    def __init__(self) -> None:
        self._next = 0

    def begin(self, limits: PoseLimits) -> Pose:
        """See ``Policy.begin``."""
        return self._advance(limits)

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """See ``Policy.choose``."""
        target = self._advance(limits)
        pan = target.pan - pose.pan
        return Action(
            name="raster",
            pan=wrap_pan(pan) if limits.full_circle else pan,
            tilt=target.tilt - pose.tilt,
            zoom=target.zoom - pose.zoom,
        )

    def _advance(self, limits: PoseLimits) -> Pose:
        columns = _stations(limits.pan_min, limits.pan_max, RASTER_PAN)
        if limits.full_circle:
            columns.pop()  # the last is the first
        rows = _stations(limits.tilt_max, limits.tilt_min, RASTER_TILT)
        row, column = divmod(self._next % (len(columns) * len(rows)), len(columns))
        self._next += 1
        return limits.reach(columns[-1 - column if row % 2 else column], rows[row], 1.0)


def _stations(first: float, last: float, step: float) -> list[float]:
    count = max(1, round(abs(last - first) / step))
    return [first + (last - first) * index / count for index in range(count + 1)]


def own_policy(name: str, seed: int) -> Policy:
    """Return the policy that chooses when no agent does: ``follow`` falls back to the random walk."""
    return Raster() if name == "raster" else RandomWalk(random.Random(seed))
