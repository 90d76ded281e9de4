"""What moves in the generated scene: traffic on the ring road, a balloon, birds, the sun and the moon.

Every path is a function of the scene's time alone. A mover is a flat picture that faces the camera, projected as the
pinhole would see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from camera_sampler.simulation import sprites
from camera_sampler.simulation.daylight import Daylight, FloatArray, UInt8Array
from camera_sampler.simulation.landscape import CAMERA_HEIGHT, LAND, SKY, ring_road
from camera_sampler.simulation.renderer import Rays, focal_length
from shared.pose import Pose

_SPRITE_SIZE = 128
_COARSEST_SPRITE = 8


@dataclass(frozen=True)
class Place:
    """Where a mover's middle is seen: azimuth and elevation in radians, and half its angular size as a tangent."""

    azimuth: float
    elevation: float
    half_size: float


class Sprite:
    """A picture at several sizes, float32 with colours already weighed by the fourth channel, the cover in [0, 1]."""

    def __init__(self, picture: UInt8Array) -> None:
        self._levels: list[FloatArray] = []
        image = Image.fromarray(picture, "RGBA").convert("RGBa")
        while True:
            level = np.asarray(image, dtype=np.float32)
            # A transparent rim, so that interpolation fades out at the edge.
            self._levels.append(np.pad(level, ((1, 1), (1, 1), (0, 0))))
            if image.width <= _COARSEST_SPRITE:
                break
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)

    def sample(self, x: FloatArray, y: FloatArray, pixels: float) -> FloatArray:
        """Return [..., 4] at ``(x, y)`` in [−1, 1] (y up), from the level fit for a picture ``pixels`` wide."""
        wanted = math.log2(max(1.0, (self._levels[0].shape[0] - 2) / max(pixels, 1.0)))
        level = self._levels[min(round(wanted), len(self._levels) - 1)]
        size = level.shape[0] - 2
        column = np.clip((x + 1.0) * (size / 2.0) + 0.5, 0.0, size + 0.999)
        row = np.clip((1.0 - y) * (size / 2.0) + 0.5, 0.0, size + 0.999)
        left, top = column.astype(np.int32), row.astype(np.int32)
        across, down = (column - left)[..., None], (row - top)[..., None]
        upper = level[top, left] * (1 - across) + level[top, left + 1] * across
        lower = level[top + 1, left] * (1 - across) + level[top + 1, left + 1] * across
        mixed: FloatArray = upper * (1 - down) + lower * down
        return mixed


@dataclass(frozen=True)
class Mover:
    """A picture on a path."""

    sprite: Sprite
    place: Callable[[float], Place]
    shines: bool = False
    """Not darkened at night, and hidden by whatever is not sky: the sun and the moon."""

    def paint(
        self, view: UInt8Array, materials: UInt8Array, pose: Pose, rays: Rays, at: float, gain: FloatArray
    ) -> None:
        """Paint onto ``view``, uint8 [H, W, 3], already lit; ``gain`` is the light on the land, [3]."""
        place = self.place(at)
        height, width, _ = view.shape
        axes = Axes.of(place, pose)
        box = _box(axes.forward, place.half_size, width, height, pose.zoom)
        if box is None:
            return
        rows, columns = box
        x, y = rays.x[:, columns], rays.y[rows]
        # Coordinates of the rays on the plane that faces the camera at the mover's middle.
        depth = np.maximum(_along(axes.forward, x, y), 1e-6) * np.float32(place.half_size)
        across, upward = _along(axes.right, x, y) / depth, _along(axes.up, x, y) / depth
        pixels = 2.0 * place.half_size * focal_length(width, pose.zoom)
        patch = self.sprite.sample(across, upward, pixels)
        if self.shines:
            patch = patch * np.clip(1.0 - (materials[rows, columns] - SKY) / np.float32(LAND), 0.0, 1.0)[..., None]
        else:
            patch[..., :3] *= gain
        region = view[rows, columns]
        mixed = patch[..., :3] + region * (1.0 - patch[..., 3:] / 255.0)
        view[rows, columns] = np.clip(mixed, 0.0, 255.0).astype(np.uint8)


Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Axes:
    """A mover's axes in the camera's frame (right, up, forward). Plain floats: most movers are out of sight."""

    right: Vector
    up: Vector
    forward: Vector

    @classmethod
    def of(cls, place: Place, pose: Pose) -> Axes:
        """Return the axes of a picture at ``place`` that faces a camera at ``pose``."""
        turn, tilt = place.azimuth - math.radians(pose.pan), math.radians(pose.tilt)
        sin_a, cos_a = math.sin(turn), math.cos(turn)
        sin_e, cos_e = math.sin(place.elevation), math.cos(place.elevation)
        sin_t, cos_t = math.sin(tilt), math.cos(tilt)

        def tilted(right: float, up: float, forward: float) -> Vector:
            return right, up * cos_t - forward * sin_t, up * sin_t + forward * cos_t

        return cls(
            right=tilted(cos_a, 0.0, -sin_a),
            up=tilted(-sin_e * sin_a, cos_e, -sin_e * cos_a),
            forward=tilted(cos_e * sin_a, sin_e, cos_e * cos_a),
        )


def _along(axis: Vector, x: FloatArray, y: FloatArray) -> FloatArray:
    # Plain float factors keep float32.
    projected: FloatArray = x * axis[0] + (y * axis[1] + axis[2])
    return projected


def _box(forward: Vector, half_size: float, width: int, height: int, zoom: float) -> tuple[slice, slice] | None:
    """Return the rows and columns that may show a mover in direction ``forward``; None when it is out of sight."""
    if forward[2] < 0.2:
        return None
    focal = focal_length(width, zoom)
    column, row = width / 2.0 + focal * forward[0] / forward[2], height / 2.0 - focal * forward[1] / forward[2]
    # Off the axis a picture is stretched by at most 1/cos²; 1.5 covers its corners.
    reach = 1.5 * half_size * focal / forward[2] ** 2 + 2.0
    rows = slice(max(0, int(row - reach)), min(height, int(row + reach) + 1))
    columns = slice(max(0, int(column - reach)), min(width, int(column + reach) + 1))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _on_road(start: float, speed: float, lane: float, length: float) -> Callable[[float], Place]:
    def place(at: float) -> Place:
        # The road's mean radius turns metres a second into an angle.
        azimuth = (start + at * speed / 45.0 + math.pi) % (2.0 * math.pi) - math.pi
        distance = float(ring_road(np.array([azimuth], np.float32))[0]) + lane
        half = length / 2.0
        # A picture's wheels stand at its bottom; its middle is half a length above the road.
        return Place(azimuth, math.atan2(half - CAMERA_HEIGHT, distance), half / math.hypot(distance, CAMERA_HEIGHT))

    return place


def _balloon(phase: float) -> Callable[[float], Place]:
    def place(at: float) -> Place:
        azimuth = phase + at * 2.0 * math.pi / 420.0
        elevation = math.radians(27.0 + 5.0 * math.sin(at * 2.0 * math.pi / 97.0))
        return Place(azimuth, elevation, math.tan(math.radians(5.5)))

    return place


def _bird(phase: float, height: float, period: float) -> Callable[[float], Place]:
    def place(at: float) -> Place:
        turn = phase + at * 2.0 * math.pi / period
        azimuth = turn + 0.5 * math.sin(3.0 * turn)
        elevation = math.radians(height + 7.0 * math.sin(2.0 * turn + phase))
        return Place(azimuth, elevation, math.tan(math.radians(1.6)))

    return place


def moving_objects(rng: np.random.Generator, daylight: Daylight) -> list[Mover]:
    """Return the scene's movers, those farthest away first."""

    def body(where: Callable[[float], tuple[float, float]], degrees: float) -> Callable[[float], Place]:
        return lambda at: Place(*where(at), math.tan(math.radians(degrees)))

    sun, moon = (
        sprites.disc(_SPRITE_SIZE, (255, 250, 226), (255, 226, 150)),
        sprites.disc(_SPRITE_SIZE, (236, 238, 246), (150, 166, 204)),
    )
    movers = [
        Mover(Sprite(moon), body(daylight.moon, 4.0), shines=True),
        Mover(Sprite(sun), body(daylight.sun, 7.0), shines=True),
        Mover(Sprite(sprites.balloon(_SPRITE_SIZE)), _balloon(rng.uniform(0.0, 2.0 * math.pi))),
    ]
    bird = Sprite(sprites.bird(_SPRITE_SIZE // 2))
    movers += [
        Mover(bird, _bird(rng.uniform(0.0, 2.0 * math.pi), height, period))
        for height, period in ((16.0, 61.0), (22.0, -83.0), (12.0, 47.0))
    ]
    bodies = ((206, 40, 44), (44, 92, 186), (240, 240, 240), (236, 186, 40), (40, 44, 50), (74, 150, 96))
    for number, paint in enumerate(bodies):
        outer = number % 2 == 0
        start, speed = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(7.0, 13.0)
        picture = sprites.car(_SPRITE_SIZE, paint, bus=number == 3)
        if outer:
            movers.insert(6, Mover(Sprite(picture), _on_road(start, speed, 2.1, 4.6)))
        else:
            length = 10.5 if number == 3 else 4.6
            movers.append(Mover(Sprite(picture[:, ::-1]), _on_road(start, -speed, -2.1, length)))
    return movers
