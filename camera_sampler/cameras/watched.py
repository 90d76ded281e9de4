"""Counts what goes wrong with a camera, and says each thing once until it has passed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import structlog
from prometheus_client import Counter

from camera_sampler.cameras.base import ERROR_KINDS, Camera, CameraError, Snapshot
from shared.actions import Action
from shared.pose import Pose, PoseLimits

T = TypeVar("T")


class WatchedCamera:
    """Implements ``Camera`` over another one. ``errors`` counts by kind."""

    def __init__(self, camera: Camera, errors: Counter) -> None:
        self._camera, self._errors = camera, errors
        self._said: set[tuple[str, str]] = set()
        self._log = structlog.get_logger()
        for kind in ERROR_KINDS:
            errors.labels(kind)

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        return await self._watch("pose", self._camera.pose())

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        await self._watch("move", self._camera.move_to(pose))

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self._watch("move", self._camera.move_by(action))

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``."""
        return await self._watch("limits", self._camera.limits())

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        return await self._watch("snapshot", self._camera.snapshot())

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""
        await self._camera.aclose()

    async def _watch(self, what: str, attempt: Awaitable[T]) -> T:
        try:
            result = await attempt
        except CameraError as error:
            self._errors.labels(error.kind).inc()
            if (what, error.kind) not in self._said:
                self._said.add((what, error.kind))
                self._log.warning("camera error", asked_for=what, kind=error.kind, reason=str(error))
            raise
        passed = {(asked, kind) for asked, kind in self._said if asked == what}
        if passed:
            self._said -= passed
            self._log.info("camera answers again", asked_for=what, after=sorted(kind for _, kind in passed))
        return result
