"""The generated scene's buildings: boxes in perspective, with bays, floors, shop fronts and windows lit at night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.landscape import CAMERA_HEIGHT, LAMP, LAND, Canvas, Colour, FloatArray

_FLOOR_HEIGHT = 3.2
_SUN = np.array([0.62, -0.78])
"""Where the baked daylight comes from (east, north)."""
_LIT_SHARE = 0.38

_WALLS: tuple[Colour, ...] = (
    (164, 84, 62), (196, 178, 150), (148, 152, 158), (222, 206, 170), (176, 120, 84),
    (120, 140, 156), (208, 144, 112), (232, 226, 214), (150, 172, 150), (104, 110, 124),
)  # fmt: skip
_SHOPS = np.array(
    [(206, 58, 54), (40, 118, 180), (238, 180, 44), (56, 146, 92), (142, 70, 150), (232, 118, 44)], np.float32
)


@dataclass(frozen=True)
class Building:
    """A box: its middle in metres (east, north), width, depth, height, turn in radians, and how it looks."""

    east: float
    north: float
    width: float
    depth: float
    height: float
    turn: float
    wall: Colour
    glass: bool
    bay: float
    seed: int

    @property
    def distance(self) -> float:
        """Metres from the mast."""
        return float(np.hypot(self.east, self.north))


def scatter_buildings(rng: np.random.Generator, count: int) -> list[Building]:
    """Place buildings all around, outside the ring road, taller ones farther away."""
    buildings = []
    for number in range(count):
        azimuth = (number + rng.uniform(0.1, 0.9)) * 2.0 * np.pi / count - np.pi
        far = number % 2
        distance = rng.uniform(135.0, 260.0) if far else rng.uniform(78.0, 120.0)
        glass = bool(far and rng.random() < 0.45)
        buildings.append(
            Building(
                east=float(distance * np.sin(azimuth)),
                north=float(distance * np.cos(azimuth)),
                width=float(rng.uniform(13.0, 26.0)),
                depth=float(rng.uniform(10.0, 18.0)),
                height=float(rng.uniform(30.0, 74.0) if far else rng.uniform(14.0, 30.0)),
                turn=float(-azimuth + rng.uniform(-0.7, 0.7)),
                wall=(96.0, 134.0, 166.0) if glass else _WALLS[int(rng.integers(len(_WALLS)))],
                glass=glass,
                bay=float(rng.uniform(2.2, 3.8)),
                seed=int(rng.integers(1 << 16)),
            )
        )
    return buildings


def paint_building(canvas: Canvas, building: Building) -> None:
    """Paint the faces of a building that the camera sees."""
    along = np.array([np.cos(building.turn), np.sin(building.turn)])
    across = np.array([-along[1], along[0]])
    middle = np.array([building.east, building.north])
    half_width, half_depth = building.width / 2.0 * along, building.depth / 2.0 * across
    for normal, half, edge in (
        (across, half_depth, half_width), (-across, -half_depth, half_width),
        (along, half_width, half_depth), (-along, -half_width, half_depth),
    ):  # fmt: skip
        face = middle + half
        if normal @ face < 0.0:
            _paint_face(canvas, building, face - edge, face + edge, 0.72 + 0.34 * max(0.0, float(normal @ _SUN)))


def _cross(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    product: npt.NDArray[np.float64] = a[0] * b[1] - a[1] * b[0]
    return product


def _paint_face(
    canvas: Canvas, building: Building, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], light: float
) -> None:
    first, last = np.arctan2(start[0], start[1]), np.arctan2(end[0], end[1])
    turn = (last - first + np.pi) % (2.0 * np.pi) - np.pi
    if turn < 0.0:
        start, end, first, turn = end, start, last, -turn
    begin = int(np.ceil((first + np.pi) / (2.0 * np.pi) * canvas.width - 0.5))
    stop = int(np.ceil((first + turn + np.pi) / (2.0 * np.pi) * canvas.width - 0.5))
    if stop <= begin:
        return
    columns = np.arange(begin, stop) % canvas.width
    azimuth = canvas.azimuths()[columns].astype(np.float64)
    direction, wall = np.stack([np.sin(azimuth), np.cos(azimuth)]), end - start
    # Where the column's vertical plane meets the wall: distance from the mast, and metres along the wall.
    distance = _cross(start, wall) / _cross(direction, wall)
    along = _cross(start, direction) / _cross(direction, wall) * np.hypot(*wall)
    top = float(np.arctan2(building.height - CAMERA_HEIGHT, distance.min()))
    bottom = float(-np.arctan2(CAMERA_HEIGHT, distance.min()))
    rows = slice(canvas.row(top), canvas.row(bottom) + 1)
    height = CAMERA_HEIGHT + np.tan(canvas.elevations()[rows])[:, None] * distance[None, :]
    colour, material = _facade(building, np.broadcast_to(along, height.shape), height, light)
    covered = (height >= 0.0) & (height <= building.height)
    place = (slice(rows.start, rows.stop), columns)
    region = canvas.pixels[place]
    region[covered, :3] = np.clip(colour[covered], 0, 255)
    region[covered, 3] = material[covered]
    canvas.pixels[place] = region


def _hash(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    code: npt.NDArray[np.float64] = np.mod(np.sin(a * 127.1 + b * 311.7 + seed * 0.7) * 43758.5453, 1.0)
    return code


def _facade(
    building: Building, along: npt.NDArray[np.float64], height: npt.NDArray[np.float64], light: float
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Return the colour and the material of every point of a face."""
    bay, floor = np.floor(along / building.bay), np.floor(height / _FLOOR_HEIGHT)
    in_bay, in_floor = along / building.bay - bay, height / _FLOOR_HEIGHT - floor
    chance = _hash(bay, floor, building.seed)
    margin = 0.06 if building.glass else 0.22
    window = (in_bay > margin) & (in_bay < 1.0 - margin) & (in_floor > 0.28) & (in_floor < 0.86)
    window &= height < building.height - 1.2
    colour = np.empty((*height.shape, 3), np.float32)
    colour[:] = building.wall
    colour *= np.where(np.mod(floor, 2.0) < 1.0, 1.0, 0.95)[..., None]
    colour[height > building.height - 0.9] *= 0.72
    ground = floor < 1.0
    if not building.glass:
        colour[ground] = _SHOPS[(_hash(np.floor(bay / 3.0), floor, building.seed + 5) * 5.99).astype(np.int32)][ground]
    tone = 46.0 + 96.0 * chance * (1.4 if building.glass else 1.0)
    pane = np.stack([tone * 0.72, tone * 0.9, tone * 1.1], axis=-1)
    colour = np.where(window[..., None], pane, colour * light)
    material = np.full(height.shape, LAND, np.uint8)
    material[window & (_hash(bay, floor, building.seed + 9) < _LIT_SHARE)] = LAMP
    return colour.astype(np.float32), material
