"""Where a camera looks: pan and tilt in degrees, zoom as magnification, in one canonical form.

Canonical: pan in [−180, 180) and growing to the right, tilt in [−90, 90] with up positive, zoom ≥ 1. Camera drivers
convert at the edge; nothing behind them ever sees a vendor's units.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def wrap_pan(degrees: float) -> float:
    """Map any angle in degrees to the canonical [−180, 180).

    >>> wrap_pan(190.0), wrap_pan(-180.0), wrap_pan(180.0)
    (-170.0, -180.0, -180.0)
    """
    wrapped = math.fmod(degrees + 180.0, 360.0)
    if wrapped < 0.0:
        wrapped += 360.0
    # Adding 360 to a tiny negative number rounds to 360 itself, which is the other end of the half-open interval.
    return wrapped - 180.0 if wrapped < 360.0 else -180.0


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be finite")
    return value


Finite = Annotated[float, AfterValidator(_finite)]


class Pose(BaseModel):
    """Pan and tilt in degrees, zoom as magnification. Pan wraps when the pose is made; the rest must be in range."""

    model_config = ConfigDict(frozen=True)

    pan: Annotated[Finite, AfterValidator(wrap_pan)]
    tilt: Annotated[Finite, Field(ge=-90.0, le=90.0)]
    zoom: Annotated[Finite, Field(ge=1.0)] = 1.0

    def as_tuple(self) -> tuple[float, float, float]:
        """Return ``(pan, tilt, zoom)``."""
        return self.pan, self.tilt, self.zoom

    def degrees_to(self, other: Pose) -> float:
        """Great-circle angle in degrees between the two optical axes; zoom does not count."""
        tilt_a, tilt_b = math.radians(self.tilt), math.radians(other.tilt)
        half_tilt, half_pan = (tilt_b - tilt_a) / 2.0, math.radians(other.pan - self.pan) / 2.0
        # The haversine keeps its precision for the fractions of a degree that short moves make.
        haversine = math.sin(half_tilt) ** 2 + math.cos(tilt_a) * math.cos(tilt_b) * math.sin(half_pan) ** 2
        return math.degrees(2.0 * math.asin(math.sqrt(min(1.0, haversine))))


class PoseLimits(BaseModel):
    """What a camera can reach. Pan turns all the way round unless ``pan_min`` and ``pan_max`` say otherwise."""

    model_config = ConfigDict(frozen=True)

    pan_min: Finite = -180.0
    pan_max: Finite = 180.0
    tilt_min: Annotated[Finite, Field(ge=-90.0, le=90.0)] = -30.0
    tilt_max: Annotated[Finite, Field(ge=-90.0, le=90.0)] = 60.0
    zoom_max: Annotated[Finite, Field(ge=1.0)] = 3.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not (-180.0 <= self.pan_min < self.pan_max <= 180.0 and self.tilt_min < self.tilt_max):
            raise ValueError("limits must satisfy -180 <= pan_min < pan_max <= 180 and tilt_min < tilt_max")
        return self

    @property
    def full_circle(self) -> bool:
        """Whether pan turns all the way round, so that it wraps instead of stopping."""
        return self.pan_max - self.pan_min >= 360.0

    def reach(self, pan: float, tilt: float, zoom: float) -> Pose:
        """Return the reachable pose nearest to the wanted one: pan wraps where the camera can, the rest clamps."""
        if not self.full_circle:
            pan = min(max(pan, self.pan_min), self.pan_max)
        return Pose(
            pan=pan,
            tilt=min(max(tilt, self.tilt_min), self.tilt_max),
            zoom=min(max(zoom, 1.0), self.zoom_max),
        )
