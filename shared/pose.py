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
    if -180.0 <= degrees < 180.0:
        # Adding 180 and taking it away again would round: a pose that is canonical stays as it is, to the last bit.
        return degrees
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
    """What a camera can reach. Pan turns all the way round unless ``pan_min`` and ``pan_max`` say otherwise.

    Where a move leads, from a start by a change of pan, tilt and zoom:

    1. The start's pan is read as the camera counts it (``unwrapped``), since canonical pan has no +180°.
    2. The change is added. An absolute move is one from the wanted pose, by no change.
    3. Pan goes round where the camera turns all the way, and stops at its limits elsewhere; tilt and zoom stop.
    4. The pose that comes of it is canonical again: the limit at +180° is kept as −180°.

    ``reach`` and ``moved`` are the only ones who do so; ``dreamer_agent.reach`` does the same to many poses at once.
    """

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
        return self.pan_min <= -180.0 and self.pan_max >= 180.0

    def unwrapped(self, pan: float) -> float:
        """Return the same direction, in degrees, as this camera counts it: within half a turn of its reach's middle.

        Every canonical pan in reach is as it was, but −180° where pan stops at +180°. A pan out of reach, as of a head
        that reads a little beyond its stop, becomes the one that lies nearest to the reach.

        >>> half = PoseLimits(pan_min=0.0, pan_max=180.0)
        >>> half.unwrapped(-180.0), half.unwrapped(-179.5), PoseLimits().unwrapped(-180.0)
        (180.0, 180.5, -180.0)
        """
        middle = (self.pan_min + self.pan_max) / 2.0
        return pan - 360.0 * round((pan - middle) / 360.0)

    def reach(self, pan: float, tilt: float, zoom: float) -> Pose:
        """Return where an absolute move to any pan, tilt and zoom leads: the reachable pose nearest to them."""
        return self._stop(self.unwrapped(pan), tilt, zoom)

    def moved(self, start: Pose, pan: float = 0.0, tilt: float = 0.0, zoom: float = 0.0) -> Pose:
        """Return where a move from ``start`` by so many degrees and so much magnification leads."""
        return self._stop(self.unwrapped(start.pan) + pan, start.tilt + tilt, start.zoom + zoom)

    def pan_between(self, start: Pose, end: Pose) -> float:
        """Return the degrees of pan from one pose to another, the shorter way round where the camera turns that far."""
        if self.full_circle:
            return wrap_pan(end.pan - start.pan)
        return self.unwrapped(end.pan) - self.unwrapped(start.pan)

    def _stop(self, pan: float, tilt: float, zoom: float) -> Pose:
        if not self.full_circle:
            pan = min(max(pan, self.pan_min), self.pan_max)
        return Pose(
            pan=pan,
            tilt=min(max(tilt, self.tilt_min), self.tilt_max),
            zoom=min(max(zoom, 1.0), self.zoom_max),
        )
