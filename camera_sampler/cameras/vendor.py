"""What the vendors' drivers share: numbers out of answers and patience with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from camera_sampler.cameras.base import CameraError
from shared.pose import Pose


def number(values: Mapping[str, str], key: str) -> float:
    """Return a finite number of an answer. ``CameraError`` where it is missing or none."""
    if key not in values:
        raise CameraError(f"the answer has no {key}", "unparsable")
    try:
        value = float(values[key])
    except ValueError:
        raise CameraError(f"{key} is no number", "unparsable") from None
    if not math.isfinite(value):
        raise CameraError(f"{key} is not finite", "unparsable")
    return value


def number_range(low: str, high: str) -> tuple[float, float]:
    """Return two numbers in order. ``CameraError`` where they are none."""
    values = {"low": low, "high": high}
    return number(values, "low"), number(values, "high")


def in_limits(pan: float, tilt: float, zoom: float) -> Pose:
    """Return a pose that a camera told. ``CameraError`` where no camera can look."""
    # A head reads a little beyond its stop; an Axis in the field has told a tilt of -92.39.
    if not (abs(pan) <= 720.0 and abs(tilt) <= 95.0 and zoom >= 1.0):
        raise CameraError(f"no camera looks at pan {pan:g}, tilt {tilt:g}, zoom {zoom:g}", "unparsable")
    return Pose(pan=pan, tilt=min(max(tilt, -90.0), 90.0), zoom=zoom)


class Untold:
    """Tells a camera that does not know its limits from one that only stumbled: asks again before giving up."""

    _TRIES = 3

    def __init__(self) -> None:
        self._failed = 0

    def again(self, error: CameraError) -> bool:
        """Whether to ask again after this error, rather than to fall back on what such cameras have in common."""
        if error.kind not in ("refused", "unparsable"):
            return True
        self._failed += 1
        return self._failed < self._TRIES
