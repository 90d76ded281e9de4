"""The light of the generated scene over a day: a gain and an added glow for every material byte and colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.landscape import LAMP, LAND

MORNING = 0.38
"""Share of the day at which the scene's clock starts: about nine o'clock."""

FloatArray = npt.NDArray[np.floating[Any]]
UInt8Array = npt.NDArray[np.uint8]

# Share of the day, gain of the land (red, green, blue), gain of the sky, glow of lamps in [0, 1]. Nights are dim, not
# black: a camera with a good sensor still sees, and so does whoever learns from it.
_HOURS = np.array(
    [
        (0.00, 0.30, 0.34, 0.50, 0.20, 0.22, 0.34, 1.0),
        (0.20, 0.32, 0.35, 0.50, 0.24, 0.26, 0.40, 1.0),
        (0.26, 0.84, 0.64, 0.56, 1.25, 0.80, 0.62, 0.6),
        (0.33, 1.04, 0.94, 0.80, 1.06, 0.98, 0.92, 0.0),
        (0.50, 1.02, 1.02, 1.00, 1.00, 1.00, 1.00, 0.0),
        (0.67, 1.06, 0.98, 0.82, 1.04, 0.98, 0.92, 0.0),
        (0.75, 0.92, 0.60, 0.46, 1.35, 0.74, 0.50, 0.5),
        (0.81, 0.36, 0.36, 0.50, 0.34, 0.28, 0.42, 1.0),
        (1.00, 0.30, 0.34, 0.50, 0.20, 0.22, 0.34, 1.0),
    ],
    np.float64,
)
_LAMP_COLOUR = np.array([236.0, 186.0, 104.0])
# How much of each material byte is sky, and how much lamp: [256, 1].
_SKY = np.clip(1.0 - np.arange(256.0) / LAND, 0.0, 1.0)[:, None]
_LAMP = np.clip((np.arange(256.0) - LAND) / (LAMP - LAND), 0.0, 1.0)[:, None]


@dataclass(frozen=True)
class Light:
    """The light at one moment, by material byte: ``gain`` multiplies a colour, ``glow`` adds to it; [256, 3] each."""

    gain: FloatArray
    glow: FloatArray

    def shine_on(self, view: UInt8Array) -> UInt8Array:
        """Light a view, uint8 [H, W, 4] with materials; return uint8 [H, W, 3]."""
        material = view[..., 3]
        lit = view[..., :3] * self.gain.take(material, axis=0)
        lit += self.glow.take(material, axis=0)
        np.minimum(lit, 255.0, out=lit)
        return lit.astype(np.uint8)


class Daylight:
    """Knows the light at every moment of a day that lasts ``day_seconds`` of the scene's time."""

    def __init__(self, day_seconds: float) -> None:
        self._day_seconds = day_seconds

    def share(self, at_seconds: float) -> float:
        """Return the share of the day, in [0, 1): 0 is midnight, 0.5 noon."""
        return (MORNING + at_seconds / self._day_seconds) % 1.0

    def light(self, at_seconds: float) -> Light:
        """Return the light at a moment."""
        share = self.share(at_seconds)
        later = int(np.searchsorted(_HOURS[:, 0], share, side="right"))
        before, after = _HOURS[later - 1], _HOURS[later]
        levels = before[1:] + (after[1:] - before[1:]) * ((share - before[0]) / (after[0] - before[0]))
        lamp = _LAMP * levels[6]
        gain = (levels[:3] + (levels[3:6] - levels[:3]) * _SKY) * (1.0 - 0.7 * lamp)
        return Light(gain.astype(np.float32), (lamp * _LAMP_COLOUR).astype(np.float32))

    def sun(self, at_seconds: float) -> tuple[float, float]:
        """Return the sun's azimuth and elevation in radians; the moon stands opposite, see ``moon``."""
        angle = (self.share(at_seconds) - 0.25) * 2.0 * math.pi
        return _on_arc(angle)

    def moon(self, at_seconds: float) -> tuple[float, float]:
        """Return the moon's azimuth and elevation in radians."""
        return _on_arc((self.share(at_seconds) + 0.25) * 2.0 * math.pi)


def _on_arc(angle: float) -> tuple[float, float]:
    # Up in the east (azimuth 90°), highest in the south at 48°, down in the west.
    east, height = math.cos(angle), math.sin(angle)
    incline = math.radians(48.0)
    return math.atan2(east, -height * math.cos(incline)), math.asin(height * math.sin(incline))
