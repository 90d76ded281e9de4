"""PTZJEPA's random walk, the baseline."""

from __future__ import annotations

import random
from typing import ClassVar

from camera_sampler.policies.base import Policy
from shared.actions import Action
from shared.pose import Pose, PoseLimits

PAN_TILT_MOVES = (-10.0, -2.0, -0.2, 0.0, 0.2, 2.0, 10.0)
"""What the random walk adds to pan and tilt, in degrees; every value is as likely as any other."""
ZOOM_MOVES = (-0.2, -0.1, 0.0, 0.1, 0.2)


class RandomWalk(Policy):
    """PTZJEPA's: a random pose, zoomed out, then independent random moves on all three axes."""

    name: ClassVar[str] = "random-walk"

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
