"""Tells pictures of now from older ones that a camera serves again: by their bytes and by the camera's own clock."""

from __future__ import annotations

from datetime import UTC, datetime

from PIL import ExifTags, Image

from camera_sampler.snapshots import BadSnapshot, Verified
from shared.pose import Pose

_CLOCK_SECONDS = 2.5
"""EXIF times are whole seconds, and an answer may take one; a picture that lags by more is an old one."""
_FLAT = 8
"""Grey levels: a picture with less contrast (fog, night) may well have the same bytes somewhere else."""


class Freshness:
    """Remembers the last good picture and how far the camera's clock is from ours. One for a camera."""

    def __init__(self, stable_degrees: float, stable_zoom: float) -> None:
        self._stable_degrees, self._stable_zoom = stable_degrees, stable_zoom
        self._data, self._pose = b"", Pose(pan=0.0, tilt=0.0)
        self._least_lag: float | None = None

    def check(self, picture: Verified, pose: Pose, asked_at: datetime) -> None:
        """Raise ``BadSnapshot`` where the picture is older than the request for it."""
        if picture.data == self._data and self._moved(pose) and not _flat(picture.image):
            raise BadSnapshot("stale", "the camera moved, and sent the very picture from before")
        made = exif_time(picture.image)
        if made is not None:
            # The camera's clock may be wrong by any amount, but it is so by the same amount each time.
            lag = (asked_at - made).total_seconds()
            if self._least_lag is not None and lag > self._least_lag + _CLOCK_SECONDS:
                raise BadSnapshot("stale", f"the picture is {lag - self._least_lag:.0f} s older than it should be")
            self._least_lag = lag if self._least_lag is None else min(lag, self._least_lag)
        self._data, self._pose = picture.data, pose

    def forget(self) -> None:
        """Forget what is known of the camera's clock: it may have been set."""
        self._least_lag = None

    def _moved(self, pose: Pose) -> bool:
        turned = self._pose.degrees_to(pose) > self._stable_degrees
        return turned or abs(self._pose.zoom - pose.zoom) > self._stable_zoom


def exif_time(image: Image.Image) -> datetime | None:
    """Return when the camera says it took the picture, by its own clock; None where it does not say."""
    try:
        text = str(image.getexif().get(ExifTags.Base.DateTime, ""))
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except (ValueError, OSError, SyntaxError, KeyError, TypeError):
        return None


def _flat(image: Image.Image) -> bool:
    low, high = image.convert("L").getextrema()
    return isinstance(low, int | float) and isinstance(high, int | float) and high - low < _FLAT
