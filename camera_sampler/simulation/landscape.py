"""The generated scene's land and sky: what lies around a mast in a park inside a ring road, with hills behind.

Everything is placed in metres around the camera and projected, so that the ground foreshortens and the clouds lie on a
plane, as they do for a real camera. Azimuth and elevation are the panorama's own pan and tilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

CAMERA_HEIGHT = 12.0
"""Metres above the ground."""
SKY, LAND, LAMP = 0, 128, 255
"""Material bytes: lit by the sky's light, by daylight, or shining by itself at night. Values between are mixtures."""
POND, POND_REACH = (22.0, -12.0), 16.0
"""The middle of the pond (east, north) and how far its shore may be from there, in metres."""
_NOISE_SIZE = 512

FloatArray = npt.NDArray[np.floating[Any]]
UInt8Array = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]


class Noise:
    """Seamless fractal noise in [0, 1] on a square that repeats."""

    def __init__(self, rng: np.random.Generator, roughness: float) -> None:
        frequency = np.fft.fftfreq(_NOISE_SIZE)[:, None] ** 2 + np.fft.rfftfreq(_NOISE_SIZE)[None, :] ** 2
        frequency[0, 0] = np.inf
        spectrum = np.fft.rfft2(rng.standard_normal((_NOISE_SIZE, _NOISE_SIZE))) * frequency ** (-roughness / 2.0)
        field = np.fft.irfft2(spectrum, s=(_NOISE_SIZE, _NOISE_SIZE))
        low, high = np.percentile(field, (0.5, 99.5))
        self._tile: FloatArray = np.clip((field - low) / (high - low), 0.0, 1.0).astype(np.float32)

    def at(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Return the noise at ``(u, v)``, which repeat after 1."""
        x, y = u * np.float32(_NOISE_SIZE), v * np.float32(_NOISE_SIZE)
        left, top = np.floor(x), np.floor(y)
        x, y = x - left, y - top
        mask = _NOISE_SIZE - 1
        column, row = left.astype(np.int32) & mask, top.astype(np.int32) & mask
        right, below = (column + 1) & mask, (row + 1) & mask
        tile = self._tile
        upper = tile[row, column] * (1 - x) + tile[row, right] * x
        lower = tile[below, column] * (1 - x) + tile[below, right] * x
        mixed: FloatArray = upper * (1 - y) + lower * y
        return mixed


@dataclass(frozen=True)
class Canvas:
    """The panorama while it is painted: uint8 [H, W, 4], the fourth byte a material."""

    pixels: UInt8Array

    @classmethod
    def blank(cls, width: int) -> Canvas:
        """Make an empty canvas ``width`` pixels wide and half as high."""
        return cls(np.zeros((width // 2, width, 4), np.uint8))

    @property
    def width(self) -> int:
        """Pixels round the circle."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from zenith to nadir."""
        return int(self.pixels.shape[0])

    def azimuths(self) -> FloatArray:
        """Return the columns' azimuths in radians."""
        return ((np.arange(self.width) + 0.5) / self.width * 2.0 * np.pi - np.pi).astype(np.float32)

    def elevations(self) -> FloatArray:
        """Return the rows' elevations in radians."""
        return (np.pi / 2.0 - (np.arange(self.height) + 0.5) / self.height * np.pi).astype(np.float32)

    def row(self, elevation: float) -> int:
        """Return the row at an elevation in radians."""
        return min(self.height - 1, max(0, int((0.5 - elevation / np.pi) * self.height)))


def ring_road(azimuth: FloatArray) -> FloatArray:
    """Return how far the middle of the ring road is from the mast, in metres, at each azimuth in radians."""
    distance: FloatArray = 45.0 + 7.0 * np.sin(2.0 * azimuth + 0.6) + 3.0 * np.sin(3.0 * azimuth)
    return distance


def _blend(first: FloatArray | Colour, second: FloatArray | Colour, share: FloatArray) -> FloatArray:
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    mixed: FloatArray = a + (b - a) * share[..., None]
    return mixed


def _smoothstep(low: float, high: float, value: FloatArray) -> FloatArray:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    smooth: FloatArray = t * t * (3.0 - 2.0 * t)
    return smooth


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the upper half: a gradient and two layers of clouds on planes overhead."""
    # The sky is smooth: half the resolution is enough, and four times as quick.
    width, height = canvas.width // 2, canvas.height // 4
    azimuth = ((np.arange(width) + 0.5) / width * 2.0 * np.pi - np.pi).astype(np.float32)[None, :]
    elevation = (np.pi / 2.0 - (np.arange(height) + 0.5) / height * np.pi / 2.0).astype(np.float32)[:, None]
    height_share = np.broadcast_to(np.sin(elevation) ** 0.6, (height, width))
    colour = _blend((196.0, 218.0, 236.0), (44.0, 104.0, 190.0), height_share.astype(np.float32))
    reach = 1.0 / np.tan(np.maximum(elevation, 0.02))
    east, north = reach * np.sin(azimuth), reach * np.cos(azimuth)
    shape, detail = Noise(rng, 2.9), Noise(rng, 2.0)
    # Each layer: scale across and along the wind, where it begins and closes, brightness, and how opaque it gets.
    layers = ((0.50, 1.20, 0.36, 0.90, 236.0, 0.75), (0.26, 0.26, 0.52, 0.64, 253.0, 0.94))
    for across, along, low, high, white, opacity in layers:
        drift = rng.random(2).astype(np.float32)
        u, v = east * across + drift[0], north * along + drift[1]
        body = 0.66 * shape.at(u, v) + 0.34 * detail.at(u * 2.0, v * 2.0)
        # Towards the horizon the plane is seen edge-on; there the layer closes into haze.
        cover = _smoothstep(low, high, body) * _smoothstep(0.03, 0.16, np.broadcast_to(elevation, body.shape))
        shade = white - 84.0 * _smoothstep(high - 0.02, high + 0.22, body)
        colour = _blend(colour, np.stack([shade, shade, shade + 4.0], axis=-1), opacity * cover)
    picture = Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))
    full = picture.resize((canvas.width, canvas.height // 2), Image.Resampling.BILINEAR)
    canvas.pixels[: canvas.height // 2, :, :3] = np.asarray(full)
    canvas.pixels[: canvas.height // 2, :, 3] = SKY


def paint_ground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the lower half: a park with paths, a pond and flower beds, the ring road, then a patchwork of fields."""
    top = canvas.height // 2
    grain, patches = Noise(rng, 0.9), Noise(rng, 2.2)
    azimuth = canvas.azimuths()[None, :]
    road = ring_road(azimuth)
    beds = _flower_beds(rng)
    block = 64  # rows at a time, so that the work stays in the cache
    for start in range(top, canvas.height, block):
        rows = slice(start, min(start + block, canvas.height))
        elevation = canvas.elevations()[rows][:, None]
        distance = CAMERA_HEIGHT / np.tan(np.maximum(-elevation, 1e-3))
        east, north = distance * np.sin(azimuth), distance * np.cos(azimuth)
        fine = np.broadcast_to(np.exp(-distance / 90.0), east.shape)
        colour = _fields(east, north, patches)
        inside = distance < road
        colour = np.where(inside[..., None], _park(east, north, patches, beds), colour)
        texture = (grain.at(east / 9.0, north / 9.0) - 0.5) * fine * 95.0
        texture += (patches.at(east / 170.0, north / 170.0) - 0.5) * 60.0
        colour = colour + texture[..., None]
        colour = _road(colour, distance, road, azimuth)
        haze = 1.0 - np.exp(-np.broadcast_to(distance, east.shape) / 1500.0)
        colour = _blend(colour, (176.0, 196.0, 206.0), haze.astype(np.float32))
        canvas.pixels[rows, :, :3] = np.clip(colour, 0, 255)
    canvas.pixels[top:, :, 3] = LAND


def _fields(east: FloatArray, north: FloatArray, patches: Noise) -> FloatArray:
    warp = (patches.at(east / 700.0, north / 700.0) - 0.5) * 90.0
    across, along = (0.8 * east + 0.6 * north + warp) / 75.0, (0.8 * north - 0.6 * east + warp) / 48.0
    column, row = np.floor(across), np.floor(along)
    code = np.mod(np.sin(column * 12.9898 + row * 78.233) * 43758.55, 1.0)
    palette = np.array(
        [(112, 142, 62), (168, 158, 78), (84, 118, 52), (188, 170, 98), (126, 98, 66), (146, 166, 74), (98, 132, 84)],
        np.float32,
    )
    colour = palette[(code * len(palette)).astype(np.int32) % len(palette)]
    # Rows of the crop run along every second field and across the others; far away they blur into one tone.
    lines = np.where(np.mod(column + row, 2.0) < 1.0, across * 75.0, along * 48.0)
    near = np.exp(-np.hypot(east, north) / 160.0)
    colour = colour + (np.sin(lines * 2.1) * 26.0 * near)[..., None]
    edge = np.minimum(np.abs(across - np.rint(across)) * 75.0, np.abs(along - np.rint(along)) * 48.0) < 1.3
    return np.where(edge[..., None], np.array([70, 92, 44], np.float32), colour).astype(np.float32)


def _flower_beds(rng: np.random.Generator) -> FloatArray:
    """Return beds as rows of azimuth, distance, radius (metres) and an RGB colour."""
    count = 22
    azimuth = (np.arange(count) + rng.random(count) * 0.7) * 2.0 * np.pi / count
    distance, radius = rng.uniform(9.0, 27.0, count), rng.uniform(0.8, 2.2, count)
    hues = np.array([(214, 62, 70), (238, 196, 60), (176, 84, 190), (240, 240, 236), (240, 136, 52), (92, 110, 214)])
    return np.column_stack([azimuth, distance, radius, hues[rng.integers(len(hues), size=count)]]).astype(np.float32)


def _park(east: FloatArray, north: FloatArray, patches: Noise, beds: FloatArray) -> FloatArray:
    colour = np.empty((*east.shape, 3), np.float32)
    colour[:] = (96.0, 138.0, 58.0)
    mown = np.mod(np.floor((east + 0.4 * north) / 2.2), 2.0) < 1.0
    colour += np.where(mown, 10.0, -8.0)[..., None]
    radius, angle = np.hypot(east, north), np.arctan2(east, north)
    spokes = np.abs(np.sin(angle * 3.5 + 0.7 * np.sin(radius / 7.0))) * radius / 3.5 < 1.0
    rings = np.abs(radius - 17.0 - 1.5 * np.sin(5.0 * angle)) < 0.9
    colour[spokes | rings] = (206.0, 190.0, 156.0)
    for azimuth, distance, size, *tone in beds:
        place = np.hypot(east - distance * np.sin(azimuth), north - distance * np.cos(azimuth))
        colour[place < size] = tone
        colour[(place >= size) & (place < size + 0.25)] = (90.0, 66.0, 48.0)
    pond = np.hypot((east - POND[0]) / 1.6, north - POND[1]) + 2.5 * patches.at(east / 60.0, north / 60.0)
    colour[pond < 9.4] = (150.0, 142.0, 118.0)
    water = pond < 8.6
    colour[water] = np.stack([66 + 9 * pond, 104 + 9 * pond, 140 + 8 * pond], axis=-1)[water]
    court = (np.abs(east + 20.0) < 7.0) & (np.abs(north - 14.0) < 4.5)
    colour[court] = (186.0, 88.0, 62.0)
    lines = np.minimum(7.0 - np.abs(east + 20.0), 4.5 - np.abs(north - 14.0))
    colour[court & ((np.abs(lines - 0.7) < 0.15) | (np.abs(east + 20.0) < 0.15))] = (240.0, 240.0, 236.0)
    return colour


def _road(colour: FloatArray, distance: FloatArray, road: FloatArray, azimuth: FloatArray) -> FloatArray:
    side = np.broadcast_to(distance, colour.shape[:2]) - road
    offset = np.abs(side)
    colour[offset < 6.4] = (172.0, 168.0, 160.0)
    colour[offset < 4.4] = (78.0, 80.0, 84.0)
    dashes = np.broadcast_to(np.mod(azimuth * 48.0, 2.0 * np.pi) < np.pi, offset.shape)
    colour[(offset < 0.16) & dashes] = (244.0, 240.0, 220.0)
    colour[(np.abs(offset - 4.1) < 0.12)] = (232.0, 232.0, 228.0)
    crossing = np.broadcast_to(np.mod(azimuth * 1.5 + 0.4, np.pi) < 0.11, offset.shape)
    stripes = crossing & (np.mod(side, 1.6) < 0.8) & (offset < 4.0)
    colour[stripes] = (236.0, 236.0, 232.0)
    return colour


def paint_hills(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint ranges of hills from far to near: blue mountains with snow, then woods."""
    texture = Noise(rng, 1.1)
    azimuth = canvas.azimuths()
    ranges = (
        (7.5, 5.5, (128.0, 148.0, 178.0), (150.0, 168.0, 192.0), 14.0),
        (4.6, 3.2, (104.0, 130.0, 138.0), (122.0, 146.0, 150.0), 24.0),
        (2.6, 2.2, (82.0, 112.0, 82.0), (98.0, 126.0, 90.0), 44.0),
        (1.0, 1.5, (62.0, 92.0, 50.0), (84.0, 110.0, 58.0), 70.0),
    )
    for number, (base, swing, crest, foot, contrast) in enumerate(ranges):
        profile = np.radians(base + swing * _periodic(rng, azimuth, number)).astype(np.float32)
        rows = slice(canvas.row(float(profile.max())), canvas.height // 2 + 1)
        elevation = canvas.elevations()[rows][:, None]
        covered = elevation < profile[None, :]
        depth = np.clip((profile[None, :] - elevation) / np.maximum(profile[None, :], 1e-3), 0.0, 1.0)
        colour = _blend(crest, foot, depth)
        u = np.broadcast_to(azimuth[None, :] / (2.0 * np.pi) * 12.0, depth.shape)
        grain = texture.at(u.astype(np.float32), np.broadcast_to(elevation * 4.0, depth.shape).astype(np.float32))
        colour = colour + ((grain - 0.5) * contrast)[..., None]
        if number == 0:
            snow = _smoothstep(7.6, 9.2, np.degrees(elevation) + (grain - 0.5) * 4.0)
            colour = _blend(colour, (240.0, 244.0, 250.0), snow)
        region = canvas.pixels[rows]
        region[covered, :3] = np.clip(colour[covered], 0, 255)
        region[covered, 3] = LAND


def _periodic(rng: np.random.Generator, azimuth: FloatArray, roughness: int) -> FloatArray:
    total = np.zeros_like(azimuth)
    for octave in range(1, 60 + 40 * roughness):
        total += np.sin(octave * azimuth + np.float32(rng.uniform(0.0, 2.0 * np.pi))) / np.float32(octave**0.95)
    return total / np.float32(np.abs(total).max())
