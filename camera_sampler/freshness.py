"""Tells pictures of now from older ones that a camera serves again: by their bytes and by the camera's own clock."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import UTC, datetime

from PIL import ExifTags, Image

from camera_sampler.snapshots import BadSnapshot, Verified
from shared.pose import Pose

_CLOCK_SECONDS = 2.5
"""EXIF times are whole seconds, and an answer may take one; a picture that lags by more is an old one."""
_REMEMBERED = 8
_FLAT = 8
"""Grey levels: a picture with less contrast (fog, night) may well have the same bytes somewhere else."""


class Freshness:
    """Remembers the last pictures that came and how far the camera's clock is from ours. One for a camera.

    An old picture that never came before is known by the camera's clock alone, where it tells that.
    """

    def __init__(self, stable_degrees: float, stable_zoom: float) -> None:
        self._stable_degrees, self._stable_zoom = stable_degrees, stable_zoom
        self._seen: OrderedDict[bytes, Pose] = OrderedDict()
        """Where each picture, by its digest, was taken."""
        self._least_lag: float | None = None

    def check(self, picture: Verified, pose: Pose, asked_at: datetime) -> None:
        """Raise ``BadSnapshot`` where the picture is older than the request for it."""
        taken = self._seen.get(_digest(picture.data))
        if taken is not None and self._moved(taken, pose) and not _flat(picture.image):
            raise BadSnapshot("stale", "the camera moved, and sent the very picture from before")
        made = exif_time(picture.image)
        if made is not None:
            # The camera's clock may be wrong by any amount, but it is so by the same amount each time.
            lag = (asked_at - made).total_seconds()
            if self._least_lag is not None and lag > self._least_lag + _CLOCK_SECONDS:
                raise BadSnapshot("stale", f"the picture is {lag - self._least_lag:.0f} s older than it should be")
            self._least_lag = lag if self._least_lag is None else min(lag, self._least_lag)
        self._remember(picture.data, pose)

    def note(self, data: bytes, pose: Pose) -> None:
        """Remember a picture that came, although nothing comes of it."""
        # One that is known may be an old one again: it stays where it was taken.
        self._remember(data, self._seen.get(_digest(data), pose))

    def _remember(self, data: bytes, pose: Pose) -> None:
        digest = _digest(data)
        self._seen[digest] = pose
        self._seen.move_to_end(digest)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def forget(self) -> None:
        """Forget what is known of the camera's clock: it may have been set."""
        self._least_lag = None

    def _moved(self, before: Pose, pose: Pose) -> bool:
        turned = before.degrees_to(pose) > self._stable_degrees
        return turned or abs(before.zoom - pose.zoom) > self._stable_zoom


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


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
