"""Axis cameras by VAPIX: pan −180…180 and tilt in degrees, zoom in steps from the camera's least to its most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from camera_sampler.access import Access, Settled
from camera_sampler.cameras.base import CameraError, Snapshot
from camera_sampler.cameras.http import Answer, CameraHttp, key_values
from camera_sampler.cameras.vendor import Untold, in_limits, number
from camera_sampler.snapshots import MAX_BYTES
from shared.actions import Action
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits

_PTZ = "/axis-cgi/com/ptz.cgi?{}&camera=1"
_SNAPSHOT = "/axis-cgi/jpg/image.cgi?camera=1"
_INITIATING = "initiating"
DEFAULT_MAGNIFICATION = 32.0
"""Where neither the settings nor the camera's field angles tell."""


@dataclass(frozen=True)
class ZoomSteps:
    """Zoom steps against magnification: linear from ``low`` (1×) to ``high`` (``magnification``)."""

    low: float = 1.0
    high: float = 9999.0
    magnification: float = DEFAULT_MAGNIFICATION

    def to_steps(self, zoom: float) -> int:
        """Return the steps next to a magnification, inside the camera's range."""
        share = (zoom - 1.0) / (self.magnification - 1.0) if self.magnification > 1.0 else 0.0
        return round(self.low + min(max(share, 0.0), 1.0) * (self.high - self.low))

    def to_zoom(self, steps: float) -> float:
        """Return the magnification of steps; what lies outside the range counts as its end."""
        share = (steps - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return 1.0 + min(max(share, 0.0), 1.0) * (self.magnification - 1.0)


@dataclass(frozen=True)
class Reach:
    """What an Axis camera tells of itself, in canonical units, and its zoom's scale."""

    limits: PoseLimits
    steps: ZoomSteps


def parse_limits(values: Mapping[str, str], magnification: float | None) -> Reach:
    """Read the answer to ``query=limits``; what it leaves out keeps VAPIX's range. ``CameraError`` if impossible."""

    def told(key: str, otherwise: float) -> float:
        return number(values, key) if key in values else otherwise

    low, high = told("minzoom", 1.0), told("maxzoom", 9999.0)
    if magnification is None:
        magnification = _by_field_angles(told("minfieldangle", 0.0), told("maxfieldangle", 0.0))
    try:
        limits = PoseLimits(
            pan_min=max(told("minpan", -180.0), -180.0),
            pan_max=min(told("maxpan", 180.0), 180.0),
            tilt_min=max(told("mintilt", -90.0), -90.0),
            tilt_max=min(told("maxtilt", 90.0), 90.0),
            zoom_max=magnification,
        )
    except ValueError as error:
        raise CameraError("the camera tells limits that cannot be", "unparsable") from error
    return Reach(limits, ZoomSteps(low, high, magnification))


def _by_field_angles(least: float, most: float) -> float:
    """Return the magnification between two field angles, which cameras tell in tenths of a degree."""
    if not 0.0 < least < most < 1800.0:
        return DEFAULT_MAGNIFICATION
    return math.tan(math.radians(most / 20.0)) / math.tan(math.radians(least / 20.0))


class AxisCamera:
    """Implements ``Camera`` by VAPIX. ``magnification`` is that of the most zoom steps; None asks the camera."""

    def __init__(
        self,
        access: Access,
        narrow: Settled | None = None,
        *,
        magnification: float | None = None,
        resolution: tuple[int, int] | None = None,
    ) -> None:
        self._http = CameraHttp(access)
        self._narrow = narrow or Settled()
        self._magnification = magnification
        self._snapshot = _SNAPSHOT + (f"&resolution={resolution[0]}x{resolution[1]}" if resolution else "")
        self._reach: Reach | None = None
        self._untold = Untold()

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        steps = (await self._told()).steps
        values = self._values(await self._http.get(_PTZ.format("query=position")), "pan")
        return in_limits(number(values, "pan"), number(values, "tilt"), steps.to_zoom(number(values, "zoom")))

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        reach = await self._told()
        # Beyond its limits the camera stops without a word, so they are kept here.
        pose = reach.limits.reach(*pose.as_tuple())
        pan, steps = reach.limits.unwrapped(pose.pan), reach.steps.to_steps(pose.zoom)
        wanted = f"pan={pan:.2f}&tilt={pose.tilt:.2f}&zoom={steps}"
        answer = await self._http.get(_PTZ.format(wanted))
        if answer.text.strip():
            self._refuse(answer)
            raise CameraError(f"words instead of nothing: {self._http.excerpt(answer.text)}", "unparsable")

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self.move_to(action.apply(await self.pose(), await self.limits()))

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``. Read once; a camera that does not tell has VAPIX's own range."""
        return (await self._told()).limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        taken_at = utc_now()
        answer = await self._http.get(self._snapshot, max_bytes=MAX_BYTES)
        if answer.content_type.startswith("text/"):
            self._refuse(answer)
            raise CameraError(f"words instead of a snapshot: {self._http.excerpt(answer.text)}", "unparsable")
        return Snapshot(answer.body, taken_at)

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""
        await self._http.aclose()

    async def _told(self) -> Reach:
        if self._reach is None:
            try:
                values = self._values(await self._http.get(_PTZ.format("query=limits")), "maxzoom")
            except CameraError as error:
                if self._untold.again(error):
                    raise
                values = {}
            reach = parse_limits(values, self._magnification)
            self._reach = Reach(self._narrow.apply(reach.limits), reach.steps)
        return self._reach

    def _values(self, answer: Answer, expected: str) -> dict[str, str]:
        values = key_values(answer.text)
        if expected not in values:
            self._refuse(answer)
            raise CameraError(f"no {expected} in: {self._http.excerpt(answer.text)}", "unparsable")
        return values

    def _refuse(self, answer: Answer) -> None:
        """Raise what an error with status 200 means."""
        text = answer.text.strip()
        if _INITIATING in text.lower():
            raise CameraError(f"the camera is not ready: {self._http.excerpt(text)}", "initiating")
        if text.lower().startswith(("error", "no such")):
            raise CameraError(f"the camera refused: {self._http.excerpt(text)}", "refused")
