"""What is drawn over the panorama: where the camera looked, what it has seen, how surprising it was where.

Coordinates are degrees as the page's SVG has them: x is pan, y is minus tilt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.renderer import field_of_view
from ptzjepa.timeline import Look

GRID_HEIGHT = 180
MASKED_LOOKS = 1500
CELL_PAN, CELL_TILT = 15, 10

# Viridis at nine places: even in lightness, and readable with every kind of colour vision.
_SCALE = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
SCALE_CSS = f"linear-gradient(to right, {', '.join(_SCALE)})"


@dataclass(frozen=True)
class Cell:
    """Mean surprise about the views whose centre lies in one cell of pan and tilt (degrees)."""

    pan: int
    tilt: int
    mean: float
    views: int
    colour: str


@dataclass(frozen=True)
class SurpriseMap:
    """The cells that have views, and the ends of the colour scale."""

    cells: tuple[Cell, ...]
    low: float
    high: float


def dots(looks: Iterable[Look]) -> str:
    """Return an SVG path of zero-length strokes, one per view: drawn with round caps they are dots of fixed size."""
    return "".join(f"M{look.pan:.1f} {-look.tilt:.1f}h0" for look in looks)


def path(looks: Sequence[Look]) -> str:
    """Return the camera's way as an SVG path; it breaks where an episode ends or pan wraps."""
    parts: list[str] = []
    before: Look | None = None
    for look in looks:
        joined = before is not None and before.episode == look.episode and abs(before.pan - look.pan) < 180.0
        parts.append(f"{'L' if joined else 'M'}{look.pan:.1f} {-look.tilt:.1f}")
        before = look
    return "".join(parts)


def seen(looks: Sequence[Look], aspect: float) -> npt.NDArray[np.bool_]:
    """Return which parts of the sphere were in view: bool [180, 360], top row tilt +90, first column pan −180.

    ``aspect`` is a snapshot's height divided by its width.
    """
    height, width = GRID_HEIGHT, 2 * GRID_HEIGHT
    pan = np.radians((np.arange(width, dtype=np.float32) + 0.5) * 360.0 / width - 180.0)[None, :]
    tilt = np.radians(90.0 - (np.arange(height, dtype=np.float32) + 0.5) * 180.0 / height)[:, None]
    cosine, up = np.cos(tilt), np.broadcast_to(np.sin(tilt), (height, width))
    visible = np.zeros((height, width), np.bool_)
    for look in looks[:: max(1, math.ceil(len(looks) / MASKED_LOOKS))]:
        turned = pan - np.float32(math.radians(look.pan))
        right, ahead = cosine * np.sin(turned), cosine * np.cos(turned)
        sine_t, cosine_t = math.sin(math.radians(look.tilt)), math.cos(math.radians(look.tilt))
        depth = ahead * cosine_t + up * sine_t
        above = up * cosine_t - ahead * sine_t
        reach = math.tan(math.radians(field_of_view(look.zoom)) / 2.0) * depth
        visible |= (depth > 0.0) & (np.abs(right) <= reach) & (np.abs(above) <= aspect * reach)
    return visible


def row_weights(height: int) -> npt.NDArray[np.float64]:
    """Return how much of the sphere a row of an equirectangular picture covers, up to a factor: [height]."""
    return np.cos(np.radians(90.0 - (np.arange(height) + 0.5) * 180.0 / height))


def surprise_map(points: Iterable[tuple[Look, float]]) -> SurpriseMap | None:
    """Average surprise per cell; None without any view."""
    sums: dict[tuple[int, int], list[float]] = {}
    for look, error in points:
        key = (math.floor(look.pan / CELL_PAN) * CELL_PAN, math.floor(look.tilt / CELL_TILT) * CELL_TILT)
        sums.setdefault(key, []).append(error)
    if not sums:
        return None
    means = {key: sum(values) / len(values) for key, values in sums.items()}
    low, high = min(means.values()), max(means.values())
    span = (high - low) or 1.0
    cells = (
        Cell(pan, tilt, mean, len(sums[pan, tilt]), _colour((mean - low) / span))
        for (pan, tilt), mean in sorted(means.items())
    )
    return SurpriseMap(tuple(cells), low, high)


def _colour(share: float) -> str:
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    index = min(int(place), len(_SCALE) - 2)
    first, second = (_rgb(_SCALE[index + offset]) for offset in (0, 1))
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(first, second, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
