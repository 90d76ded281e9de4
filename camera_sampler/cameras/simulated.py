"""The simulated camera: finite motion inside a scene, JPEG snapshots of what it sees at the moment it is asked."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from camera_sampler.cameras.base import Snapshot
from camera_sampler.simulation.motion import Motion, Speeds
from camera_sampler.simulation.scenes import Scene
from shared.actions import Action
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits

JPEG_QUALITY = 90


@dataclass(frozen=True)
class Sensor:
    """The snapshot's size in pixels."""

    width: int
    height: int


class SimulatedCamera:
    """Implements ``Camera`` over a scene.

    ``clock`` returns the simulation's seconds; one that runs faster than the wall clock makes both the camera and the
    scene fast.
    """

    def __init__(
        self,
        scene: Scene,
        sensor: Sensor,
        *,
        limits: PoseLimits | None = None,
        speeds: Speeds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scene, self._sensor, self._clock = scene, sensor, clock
        self._limits = limits or PoseLimits()
        self._motion = Motion(self._limits, speeds or Speeds(), self._limits.reach(0.0, 0.0, 1.0))
        # A scene is not for several threads, and a snapshot that was given up on may still be under way in one.
        self._one_at_a_time = threading.Lock()

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        return self._motion.pose_at(self._clock())

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        self._motion.move_to(pose, self._clock())

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        now = self._clock()
        self._motion.move_to(action.apply(self._motion.pose_at(now), self._limits), now)

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``."""
        return self._limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        now, taken_at = self._clock(), utc_now()
        data = await asyncio.to_thread(self._expose, self._motion.pose_at(now), now)
        return Snapshot(data, taken_at)

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""

    def _expose(self, pose: Pose, now: float) -> bytes:
        with self._one_at_a_time:
            view = self._scene.render(pose, self._sensor.width, self._sensor.height, now)
        buffer = io.BytesIO()
        Image.fromarray(view).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue()


def fast_clock(factor: float) -> Callable[[], float]:
    """Return a clock that starts at zero now and runs ``factor`` times as fast as the wall clock."""
    started = time.monotonic()
    return lambda: (time.monotonic() - started) * factor
