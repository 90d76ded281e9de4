"""Stored pictures as a camera: it goes to the nearest pose that it has a picture of, and shows that picture.

Nearest is measured by the wrapped difference in pan, that in tilt, and that in the logarithm of zoom. A move that leads
to no other pose leaves the camera where it is, as a limit does; of several pictures of one pose, the one that was shown
longest ago is next. What the views record as the move is what the poses differ by.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from camera_sampler.access import Settled
from camera_sampler.cameras.base import CameraError, Snapshot
from camera_sampler.cameras.stored_index import Floats, StoredIndex, read_index
from camera_sampler.naming import from_microseconds
from camera_sampler.settings import SamplerSettings
from camera_sampler.snapshots import MAX_BYTES, BadSnapshot, verify
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Pose, PoseLimits

ZOOM_DEGREES = 30.0
"""What zooming by a factor of e counts, in degrees: half the field of view, so that either changes half the picture."""
WIDEST_GAP = 30.0
"""Degrees of pan between neighbouring pictures; where one is wider, the circle is not covered and pan does not wrap."""
_TIE = 1e-6
_TRIES = 100
"""Broken pictures in a row that one move passes over."""
_LEAST_RANGE = 0.01


class StoredCamera:
    """Implements ``Camera`` over an index of pictures."""

    def __init__(self, index: StoredIndex, narrow: Settled | None = None) -> None:
        """Show the oldest picture. ``UserError`` where ``narrow`` leaves none or none is sound. Blocking."""
        self._index = index
        self._limits = (narrow or Settled()).apply(reach_of(index.pan, index.tilt, index.zoom))
        self._shown = np.zeros(len(index), np.int64)
        self._left = _inside(index, self._limits)
        self._moves = self._broken = 0
        # A move that was given up on may still be under way in its thread.
        self._one_at_a_time = threading.Lock()
        self._log = structlog.get_logger()
        if not self._left.any():
            raise UserError("PTZ_PAN_MIN … PTZ_ZOOM_MAX leave none of the stored pictures")
        self._showing = (-1, b"")
        first = int(np.argmax(self._left))
        try:
            self._show(index.pan[first], index.tilt[first], index.zoom[first])
        except CameraError as error:
            raise UserError(f"PTZ_STORED_IMAGES: {error}; give pictures that can be opened") from error

    async def pose(self) -> Pose:
        """See ``Camera.pose``: where the picture was taken."""
        index, (at, _) = self._index, self._showing
        return Pose(pan=float(index.pan[at]), tilt=float(index.tilt[at]), zoom=float(index.zoom[at]))

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        await asyncio.to_thread(self._show, *self._limits.reach(*pose.as_tuple()).as_tuple())

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        await self.move_to(action.apply(await self.pose(), self._limits))

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``: as far as the pictures go."""
        return self._limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``: the file as it is, with the time at which it was taken."""
        at, data = self._showing
        return Snapshot(data, from_microseconds(int(self._index.microseconds[at])), "recording")

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""

    def _show(self, pan: float, tilt: float, zoom: float) -> None:
        """Go to the nearest sound picture. It is read and decoded here, so that pose and picture agree ever after."""
        with self._one_at_a_time:
            for _ in range(_TRIES):
                chosen = self._nearest(pan, tilt, zoom)
                if chosen is None:
                    break
                try:
                    data = self._read(chosen)
                except (OSError, ValueError, BadSnapshot) as error:
                    self._give_up(chosen, error)
                    continue
                self._moves += 1
                self._shown[chosen] = self._moves
                self._showing = (chosen, data)
                return
        raise CameraError(f"no sound picture near there; {self._broken} are broken", "other")

    def _nearest(self, pan: float, tilt: float, zoom: float) -> int | None:
        index = self._index
        across = (index.pan - pan + 180.0) % 360.0 - 180.0
        closer = ZOOM_DEGREES * np.log(index.zoom / zoom)
        distance = np.sqrt(across**2 + (index.tilt - tilt) ** 2 + closer**2)
        distance[~self._left] = np.inf
        least = distance.min()
        if not np.isfinite(least):
            return None
        tied = np.flatnonzero(distance <= least + _TIE)
        return int(tied[np.argmin(self._shown[tied])])

    def _read(self, chosen: int) -> bytes:
        with self._index.path(chosen).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        verify(data)
        return data

    def _give_up(self, chosen: int, error: Exception) -> None:
        self._left[chosen] = False
        self._broken += 1
        # Said for the first, the tenth, the hundredth.
        if str(self._broken).strip("0") == "1":
            reason = str(getattr(error, "strerror", None) or error)[:200]
            place = str(self._index.path(chosen))
            self._log.warning("broken stored picture skipped", broken=self._broken, file=place, reason=reason)


def reach_of(pan: Floats, tilt: Floats, zoom: Floats) -> PoseLimits:
    """Return what pictures at these poses cover: the whole circle of pan only where no gap is wider than 30°."""
    around = np.sort(pan)
    gaps = np.diff(np.append(around, around[0] + 360.0))
    pan_min, pan_max = (-180.0, 180.0) if gaps.max() <= WIDEST_GAP else _range(pan, 180.0)
    tilt_min, tilt_max = _range(tilt, 90.0)
    return PoseLimits(
        pan_min=pan_min, pan_max=pan_max, tilt_min=tilt_min, tilt_max=tilt_max, zoom_max=float(zoom.max())
    )


def _range(values: Floats, most: float) -> tuple[float, float]:
    """Return the least and the greatest, apart at least a little, since limits must be."""
    low, high = float(values.min()), float(values.max())
    if high - low < _LEAST_RANGE:
        low, high = max(low - _LEAST_RANGE, -most), min(high + _LEAST_RANGE, most)
    return low, high


def _inside(index: StoredIndex, limits: PoseLimits) -> npt.NDArray[np.bool_]:
    pan = np.array([limits.unwrapped(each) for each in index.pan.tolist()])
    return (
        (pan >= limits.pan_min)
        & (pan <= limits.pan_max)
        & (index.tilt >= limits.tilt_min)
        & (index.tilt <= limits.tilt_max)
        & (index.zoom <= limits.zoom_max)
    )


def open_stored(path: Path, settings: SamplerSettings) -> StoredCamera:
    """Return the pictures at ``path`` as a camera. ``UserError`` where they can't be read. Blocking."""
    index = read_index(path, settings.stored_zoom, settings.camera_magnification, settings.stored_camera)
    return StoredCamera(index, settings.settled_limits)
