"""Put the generated scene together: land, sky, then everything that stands on the land, from far to near."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from camera_sampler.simulation import sprites
from camera_sampler.simulation.landscape import (
    CAMERA_HEIGHT,
    LAND,
    POND,
    POND_REACH,
    Canvas,
    UInt8Array,
    paint_ground,
    paint_hills,
    paint_sky,
    ring_road,
)
from camera_sampler.simulation.structures import paint_building, scatter_buildings

PANORAMA_WIDTH = 3072
BUILDINGS = 34
FAR_TREES, NEAR_TREES, PARK_TREES = 90, 70, 12

_LEAVES = ((92, 140, 52), (70, 118, 48), (122, 150, 56), (196, 128, 44), (176, 74, 42), (206, 168, 58), (84, 132, 82))
_NEEDLES = ((44, 92, 62), (54, 104, 60), (40, 84, 74))


@dataclass(frozen=True)
class _Standing:
    distance: float
    paint: Callable[[], None]


def paint_panorama(seed: int, width: int = PANORAMA_WIDTH) -> UInt8Array:
    """Paint the scene: uint8 [width / 2, width, 4], the fourth byte a material (see ``landscape``)."""
    rng = np.random.default_rng((seed, 1))
    canvas = Canvas.blank(width)
    paint_sky(canvas, rng)
    paint_hills(canvas, rng)
    paint_ground(canvas, rng)
    standing = [*_buildings(canvas, rng), *_landmarks(canvas, rng), *_trees(canvas, rng)]
    for item in sorted(standing, key=lambda item: -item.distance):
        item.paint()
    return canvas.pixels


def _buildings(canvas: Canvas, rng: np.random.Generator) -> list[_Standing]:
    def painter(number: int) -> Callable[[], None]:
        return lambda: paint_building(canvas, buildings[number])

    buildings = scatter_buildings(rng, BUILDINGS)
    return [_Standing(building.distance, painter(number)) for number, building in enumerate(buildings)]


def _landmarks(canvas: Canvas, rng: np.random.Generator) -> list[_Standing]:
    count = len(sprites.LANDMARKS)
    order, start = rng.permutation(count), rng.uniform(0.0, 2.0 * math.pi)
    standing = []
    for place, number in enumerate(order):
        _, distance, height = sprites.LANDMARKS[number]
        azimuth = start + (place + rng.uniform(-0.2, 0.2)) * 2.0 * math.pi / count
        picture = sprites.landmark(int(number), canvas.width // 8)
        standing.append(_standing(canvas, picture, azimuth, distance, height))
    return standing


def _trees(canvas: Canvas, rng: np.random.Generator) -> list[_Standing]:
    size = canvas.width // 16
    leafy = [sprites.broadleaf(rng, size, leaf) for leaf in _LEAVES]
    firs = [sprites.conifer(rng, size, leaf) for leaf in _NEEDLES]
    poplars = [sprites.poplar(rng, size, leaf) for leaf in _LEAVES[:3]]
    kinds = [*leafy, *leafy, *firs, *firs, *poplars]
    standing = []
    for count, nearest, farthest, low, high in (
        (FAR_TREES, 40.0, 140.0, 9.0, 19.0),
        (NEAR_TREES, 9.0, 16.0, 5.0, 10.0),
        (PARK_TREES, -19.0, -12.0, 2.5, 4.5),
    ):
        for number in range(count):
            azimuth = (number + rng.random()) * 2.0 * math.pi / count
            # Distances count from the ring road: negative ones stand in the park, low enough not to hide the road.
            road = float(ring_road(np.array([_wrap(azimuth)], np.float32))[0])
            distance, height = road + rng.uniform(nearest, farthest), rng.uniform(low, high)
            picture = kinds[int(rng.integers(len(kinds)))]
            if math.hypot(distance * math.sin(azimuth) - POND[0], distance * math.cos(azimuth) - POND[1]) > POND_REACH:
                standing.append(_standing(canvas, picture, azimuth, distance, height))
    return standing


def _wrap(azimuth: float) -> float:
    return (azimuth + math.pi) % (2.0 * math.pi) - math.pi


def _standing(canvas: Canvas, picture: UInt8Array, azimuth: float, distance: float, height: float) -> _Standing:
    return _Standing(distance, lambda: _paste(canvas, picture, azimuth, distance, height))


def _paste(canvas: Canvas, picture: UInt8Array, azimuth: float, distance: float, height: float) -> None:
    """Stand a square picture of ``height`` metres on the ground."""
    foot = math.atan2(-CAMERA_HEIGHT, distance)
    top, bottom = canvas.row(math.atan2(height - CAMERA_HEIGHT, distance)), canvas.row(foot)
    rows = max(1, bottom - top)
    columns = max(1, round(height / math.hypot(distance, CAMERA_HEIGHT) / (2.0 * math.pi) * canvas.width))
    # RGBa keeps the colours of transparent pixels out of the edges.
    small = Image.fromarray(picture, "RGBA").convert("RGBa").resize((columns, rows), Image.Resampling.BOX)
    patch = np.asarray(small, dtype=np.float32)
    left = round((_wrap(azimuth) + math.pi) / (2.0 * math.pi) * canvas.width - columns / 2.0)
    place = (slice(top, top + rows), np.arange(left, left + columns) % canvas.width)
    region = canvas.pixels[place]
    cover = patch[..., 3:] / 255.0
    region[..., :3] = np.clip(patch[..., :3] + region[..., :3] * (1.0 - cover), 0.0, 255.0)
    region[..., 3] = np.where(cover[..., 0] > 0.5, LAND, region[..., 3])
    canvas.pixels[place] = region
