"""A faithful pinhole camera inside a panorama, in plain numpy.

Pan is only an offset of the longitude, so the rays of a view are computed without it. Colours are interpolated two to
a machine word (red and blue, green and material) with weights of eight bits, in blocks that stay in the cache.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.panorama import Level, Panorama
from shared.pose import Pose

FIELD_OF_VIEW = 60.0
"""Horizontal field of view in degrees at zoom 1."""
BLOCK_PIXELS = 4096
_RAYS_PIXELS = 1_000_000
"""Pixels of cached rays: 4 MB."""
_LANES = np.uint32(0x00FF00FF)
_HALF = np.uint32(0x00800080)
_EIGHT = np.uint32(8)

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]


def focal_length(width: int, zoom: float) -> float:
    """Return the pinhole's focal length in pixels for a view ``width`` pixels wide."""
    return width / 2.0 * zoom / math.tan(math.radians(FIELD_OF_VIEW) / 2.0)


def field_of_view(zoom: float) -> float:
    """Return the horizontal field of view in degrees: ``2 atan(tan(FIELD_OF_VIEW / 2) / zoom)``."""
    return math.degrees(2.0 * math.atan(math.tan(math.radians(FIELD_OF_VIEW) / 2.0) / zoom))


class Rays:
    """The pixels' rays in the camera's frame: ``(x, y, 1)`` with x right [1, W], y up [H, 1], and 1/length [H, W]."""

    def __init__(self, width: int, height: int, zoom: float) -> None:
        scale = 1.0 / focal_length(width, zoom)
        self.x = ((np.arange(width, dtype=np.float64) + 0.5 - width / 2.0) * scale).astype(np.float32)[None, :]
        self.y = ((height / 2.0 - 0.5 - np.arange(height, dtype=np.float64)) * scale).astype(np.float32)[:, None]
        length: Float32Array = np.sqrt(self.x * self.x + self.y * self.y + np.float32(1.0))
        self.inverse_length: Float32Array = np.reciprocal(length)


class Renderer:
    """Renders views of one panorama. Not for use by several threads at once."""

    def __init__(self, panorama: Panorama) -> None:
        self.panorama = panorama
        self._rays: OrderedDict[tuple[int, int, float], Rays] = OrderedDict()
        self._cached_pixels = 0

    def render(self, pose: Pose, width: int, height: int) -> UInt8Array:
        """Return the view at ``pose``: uint8 [height, width, 3]."""
        return np.ascontiguousarray(self.render_materials(pose, width, height)[..., :3])

    def render_materials(self, pose: Pose, width: int, height: int) -> UInt8Array:
        """Return the view with the panorama's material byte: uint8 [height, width, 4]."""
        rays = self.rays(width, height, pose.zoom)
        level = self._level(width, pose.zoom)
        view = np.empty((height, width), np.uint32)
        rows = max(1, BLOCK_PIXELS // width)
        for top in range(0, height, rows):
            block = slice(top, min(top + rows, height))
            _render_block(level, rays, pose, block, view[block])
        return view.view(np.uint8).reshape(height, width, 4)

    def rays(self, width: int, height: int, zoom: float) -> Rays:
        """Return the rays of a view of this size and zoom; those used last stay in a bounded cache."""
        key = (width, height, zoom)
        rays = self._rays.get(key)
        if rays is None:
            rays = self._rays[key] = Rays(width, height, zoom)
            self._cached_pixels += width * height
            while self._cached_pixels > _RAYS_PIXELS and len(self._rays) > 1:
                (old_width, old_height, _), _ = self._rays.popitem(last=False)
                self._cached_pixels -= old_width * old_height
        else:
            self._rays.move_to_end(key)
        return rays

    def _level(self, width: int, zoom: float) -> Level:
        # Panorama pixels per view pixel at the view's centre, where the view's pixels are widest in angle.
        levels = self.panorama.levels
        density = levels[0].width / (2.0 * math.pi) / focal_length(width, zoom)
        return levels[min(max(0, round(math.log2(density))), len(levels) - 1)]


def _render_block(level: Level, rays: Rays, pose: Pose, rows: slice, out: UInt32Array) -> None:
    tilt = math.radians(pose.tilt)
    sine, cosine = np.float32(math.sin(tilt)), np.float32(math.cos(tilt))
    y = rays.y[rows]
    scale = level.width / (2.0 * math.pi) * 256.0
    # Rays turned by the tilt; 1/256 pixels from here on.
    columns = np.arctan2(rays.x, cosine - sine * y)
    columns *= np.float32(scale)
    # Between one half and two and a half widths: positive for the cast, then brought home by at most two widths.
    columns += np.float32(((pose.pan + 180.0) / 360.0 + 1.0) * level.width * 256.0 - 128.0 + 0.5)
    elevation = (sine + cosine * y) * rays.inverse_length[rows]
    # Rounding may leave the sphere by one part in ten million.
    np.clip(elevation, -1.0, 1.0, out=elevation)
    np.arcsin(elevation, out=elevation)
    elevation *= np.float32(-scale)
    elevation += np.float32(level.height * 128.0 - 128.0 + 0.5)
    np.clip(elevation, 0.0, (level.height - 1) * 256.0, out=elevation)
    _sample(level, columns.astype(np.uint32), elevation.astype(np.uint32), out)


def _sample(level: Level, columns: UInt32Array, rows: UInt32Array, out: UInt32Array) -> None:
    """Interpolate at positions in 1/256 pixels."""
    across, down = columns & np.uint32(255), rows & np.uint32(255)
    columns >>= _EIGHT
    rows >>= _EIGHT
    for _ in range(2):
        # Unsigned: where a column is less than the width the difference is huge, and the minimum keeps the column.
        np.minimum(columns, columns - np.uint32(level.width), out=columns)
    rows *= np.uint32(level.stride)
    rows += columns
    places = rows.astype(np.intp)
    packed = level.packed
    top = _mix(packed.take(places, mode="clip"), packed[1:].take(places, mode="clip"), across)
    below = packed[level.stride :]
    bottom = _mix(below.take(places, mode="clip"), below[1:].take(places, mode="clip"), across)
    red_blue, green_material = (_lerp(first, second, down) for first, second in zip(top, bottom, strict=True))
    np.bitwise_or(red_blue, green_material << _EIGHT, out=out)


def _mix(left: UInt32Array, right: UInt32Array, weight: UInt32Array) -> tuple[UInt32Array, UInt32Array]:
    return (
        _lerp(left & _LANES, right & _LANES, weight),
        _lerp((left >> _EIGHT) & _LANES, (right >> _EIGHT) & _LANES, weight),
    )


def _lerp(first: UInt32Array, second: UInt32Array, weight: UInt32Array) -> UInt32Array:
    """Interpolate two bytes per word; ``weight`` is in 1/256. Borrows between lanes cancel modulo 2³²."""
    mixed = second - first
    mixed *= weight
    mixed += first << _EIGHT
    mixed += _HALF
    mixed >>= _EIGHT
    mixed &= _LANES
    return mixed
