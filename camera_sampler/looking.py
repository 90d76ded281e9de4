"""From a move to a verified picture: wait until the camera stands still, read the pose, take the snapshot, check it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Histogram

from camera_sampler.cameras import Camera, CameraError, Snapshot
from camera_sampler.freshness import Freshness
from camera_sampler.settings import SamplerSettings
from camera_sampler.snapshots import BadSnapshot, Verified, verify
from shared.pose import Pose

ANSWER_SECONDS = 15.0
"""A camera that takes longer over one answer has not answered."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.1, 2.0
_DRIFT = 5.0
"""By so many tolerances a head may still creep after it stood."""


class NoView(Exception):
    """The camera gave no verified picture in all the tries it had."""


@dataclass(frozen=True)
class Look:
    """A verified picture with the poses read around it."""

    picture: Verified
    snapshot: Snapshot
    pose_before: Pose
    pose: Pose
    settled: bool


class Looker:
    """Looks through one camera."""

    def __init__(self, camera: Camera, settings: SamplerSettings, rejects: Counter, settle: Histogram) -> None:
        self._camera, self._settings = camera, settings
        self._rejects, self._settle = rejects, settle
        self._size = settings.settled_size
        """What every snapshot must measure; that of the first one where nobody said it."""
        self._freshness = Freshness(settings.stable_degrees, settings.stable_zoom)
        self._stood: Pose | None = None
        """Where the camera came to stand."""
        self._log = structlog.get_logger()

    async def stand_still(self) -> bool:
        """Wait until the pose no longer changes; False when the deadline passed first. May raise ``CameraError``."""
        settings, began = self._settings, time.monotonic()
        deadline = began + settings.deadline_seconds / settings.time_scale
        readings: deque[Pose] = deque(maxlen=settings.stable_polls)
        while True:
            readings.append(await self.pose())
            stable = len(readings) == settings.stable_polls and all(
                self._same(readings[0], reading) for reading in readings
            )
            if stable or time.monotonic() >= deadline:
                self._stood = readings[-1] if stable else None
                self._settle.observe(time.monotonic() - began)
                return stable
            await asyncio.sleep(settings.poll_seconds / settings.time_scale)

    async def look(self, settled: bool) -> Look:
        """Take a verified snapshot with the poses before and after it; try again, later each time, until ``NoView``."""
        delay = _FIRST_BACK_OFF
        for attempt in range(self._settings.snapshot_tries):
            if attempt:
                await asyncio.sleep(delay / self._settings.time_scale)
                delay = min(2.0 * delay, _LONGEST_BACK_OFF)
            try:
                return await self._look_once(settled)
            except BadSnapshot as error:
                self._rejects.labels(error.kind).inc()
                self._log.warning("snapshot rejected", kind=error.kind, reason=str(error)[:200], attempt=attempt + 1)
            except (CameraError, TimeoutError) as error:
                self._rejects.labels("no-answer").inc()
                # The camera's own errors are said where they are counted by kind, once each.
                if isinstance(error, TimeoutError):
                    self._log.warning("snapshot rejected", kind="no-answer", reason="no answer", attempt=attempt + 1)
        # What was learned from pictures that came before may no longer hold, after a reboot for one.
        self._size = self._settings.settled_size
        self._freshness.forget()
        raise NoView(f"no verified snapshot in {self._settings.snapshot_tries} tries")

    async def pose(self) -> Pose:
        """Read the pose. ``CameraError`` when the camera does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._camera.pose()
        except TimeoutError as error:
            raise CameraError(f"no pose within {ANSWER_SECONDS:.0f} s") from error

    async def _look_once(self, settled: bool) -> Look:
        before = await self.pose()
        if self._stood is not None and not self._same(self._stood, before, _DRIFT):
            # After a reboot, or under another hand: what is seen now does not follow from the move.
            raise BadSnapshot("moved", "the camera moved after it had come to stand")
        async with asyncio.timeout(ANSWER_SECONDS):
            snapshot = await self._camera.snapshot()
        try:
            after = await self.pose()
        except CameraError:
            # Nothing comes of this picture, but the camera may send it again when it looks elsewhere.
            self._freshness.note(snapshot.data, before)
            raise
        if snapshot.origin == "recording":
            # It is old and may be shown again, and the next one may come from a camera of another resolution.
            picture = await asyncio.to_thread(verify, snapshot.data)
        else:
            picture = await asyncio.to_thread(verify, snapshot.data, self._size)
            self._freshness.check(picture, after, snapshot.taken_at)
            self._size = self._size or picture.image.size
        return Look(picture, snapshot, before, after, settled and self._same(before, after))

    def _same(self, first: Pose, second: Pose, tolerances: float = 1.0) -> bool:
        return (
            first.degrees_to(second) <= tolerances * self._settings.stable_degrees
            and abs(first.zoom - second.zoom) <= tolerances * self._settings.stable_zoom
        )
