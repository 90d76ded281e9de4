"""Flat pictures that stand in the generated scene: trees, landmarks, and whatever moves. Drawn, never loaded.

Each is drawn on a square canvas in a frame from (0, 0) at the bottom left to (1, 1) at the top right, four times as
large as it is kept, so that its edges are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_OVERSAMPLING = 4

UInt8Array = npt.NDArray[np.uint8]
Paint = tuple[int, int, int]
Point = tuple[float, float]


class Pen:
    """Draws in the unit square, y upwards."""

    def __init__(self, size: int) -> None:
        self._size, self._side = size, size * _OVERSAMPLING
        self._picture = Image.new("RGBA", (self._side, self._side))
        self._draw = ImageDraw.Draw(self._picture)

    def _at(self, x: float, y: float) -> Point:
        return x * self._side, (1.0 - y) * self._side

    def box(self, left: float, bottom: float, right: float, top: float, colour: Paint) -> None:
        """Fill a rectangle."""
        self._draw.rectangle((*self._at(left, top), *self._at(right, bottom)), fill=(*colour, 255))

    def oval(self, x: float, y: float, width: float, height: float, colour: Paint) -> None:
        """Fill an ellipse about ``(x, y)``."""
        corners = (*self._at(x - width / 2, y + height / 2), *self._at(x + width / 2, y - height / 2))
        self._draw.ellipse(corners, fill=(*colour, 255))

    def ring(self, x: float, y: float, diameter: float, width: float, colour: Paint) -> None:
        """Draw a circle's outline."""
        radius = diameter / 2
        corners = (*self._at(x - radius, y + radius), *self._at(x + radius, y - radius))
        self._draw.ellipse(corners, outline=(*colour, 255), width=max(1, round(width * self._side)))

    def shape(self, points: Sequence[Point], colour: Paint) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(x, y) for x, y in points], fill=(*colour, 255))

    def line(self, points: Sequence[Point], width: float, colour: Paint) -> None:
        """Draw a line."""
        self._draw.line(
            [self._at(x, y) for x, y in points], fill=(*colour, 255), width=max(1, round(width * self._side))
        )

    def finish(self) -> UInt8Array:
        """Return the picture: uint8 RGBA [size, size, 4]."""
        return np.asarray(self._picture.resize((self._size, self._size), Image.Resampling.BOX))


def _shade(colour: Paint, factor: float) -> Paint:
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def broadleaf(rng: np.random.Generator, size: int, leaf: Paint) -> UInt8Array:
    """Draw a tree with a round crown of many tufts, lighter where the light comes from."""
    pen = Pen(size)
    pen.shape([(0.46, 0.0), (0.54, 0.0), (0.52, 0.5), (0.48, 0.5)], (86, 64, 46))
    tufts = [(rng.uniform(0.0, 2.0 * math.pi), math.sqrt(rng.random())) for _ in range(90)]
    # From the dark depth of the crown to its sunlit tufts.
    for angle, radius in sorted(tufts, key=lambda tuft: tuft[1] * (math.sin(tuft[0]) - math.cos(tuft[0]))):
        x, y = 0.5 + 0.37 * radius * math.cos(angle), 0.63 + 0.29 * radius * math.sin(angle)
        light = 0.8 + 0.28 * radius * (math.sin(angle) - 0.6 * math.cos(angle)) + rng.uniform(-0.12, 0.12)
        pen.oval(x, y, rng.uniform(0.08, 0.17), rng.uniform(0.07, 0.13), _shade(leaf, light))
    return pen.finish()


def conifer(rng: np.random.Generator, size: int, leaf: Paint) -> UInt8Array:
    """Draw a fir: tiers of needles that narrow upwards."""
    pen = Pen(size)
    pen.box(0.47, 0.0, 0.53, 0.16, (78, 58, 44))
    for tier in range(8):
        bottom, half = 0.1 + tier * 0.105, 0.3 * (1.0 - tier / 8.6)
        top = bottom + 0.21
        tone = _shade(leaf, 0.72 + 0.05 * tier + rng.uniform(-0.06, 0.06))
        pen.shape([(0.5 - half, bottom), (0.5, top), (0.5 + half, bottom)], tone)
        pen.shape([(0.5 - half, bottom), (0.5, top), (0.5 - half * 0.2, bottom)], _shade(tone, 1.3))
    return pen.finish()


def poplar(rng: np.random.Generator, size: int, leaf: Paint) -> UInt8Array:
    """Draw a tall, narrow tree."""
    pen = Pen(size)
    pen.box(0.48, 0.0, 0.52, 0.2, (90, 72, 52))
    for _ in range(70):
        y = rng.uniform(0.14, 0.96)
        x = 0.5 + rng.uniform(-1.0, 1.0) * 0.13 * math.sin(math.pi * min(1.0, 1.06 - y)) ** 0.6
        pen.oval(x, y, 0.07, 0.1, _shade(leaf, 0.95 - 1.4 * (x - 0.5) + rng.uniform(-0.12, 0.12)))
    return pen.finish()


def _water_tower(pen: Pen) -> None:
    for x in (0.36, 0.45, 0.55, 0.64):
        pen.line([(x, 0.0), (0.5 + (x - 0.5) * 0.8, 0.62)], 0.018, (130, 134, 140))
    pen.line([(0.36, 0.1), (0.62, 0.5)], 0.01, (130, 134, 140))
    pen.line([(0.64, 0.1), (0.38, 0.5)], 0.01, (130, 134, 140))
    pen.oval(0.5, 0.72, 0.42, 0.3, (86, 152, 190))
    pen.box(0.29, 0.71, 0.71, 0.75, (236, 240, 244))
    pen.shape([(0.3, 0.79), (0.5, 0.95), (0.7, 0.79)], (190, 62, 52))


def _radio_mast(pen: Pen) -> None:
    for part in range(8):
        low, high = part / 8, (part + 1) / 8
        colour = (206, 48, 42) if part % 2 == 0 else (240, 240, 240)
        pen.shape([(0.5 - 0.07 * (1 - low), low), (0.5 + 0.07 * (1 - low), low),
                   (0.5 + 0.07 * (1 - high), high), (0.5 - 0.07 * (1 - high), high)], colour)  # fmt: skip
    for y in (0.45, 0.6, 0.75):
        pen.oval(0.56, y, 0.1, 0.06, (222, 224, 226))


def _church(pen: Pen) -> None:
    pen.box(0.3, 0.0, 0.85, 0.32, (226, 212, 184))
    pen.shape([(0.26, 0.32), (0.36, 0.5), (0.82, 0.5), (0.9, 0.32)], (150, 74, 54))
    pen.box(0.12, 0.0, 0.32, 0.6, (236, 224, 198))
    pen.shape([(0.09, 0.6), (0.22, 0.99), (0.35, 0.6)], (74, 96, 92))
    pen.oval(0.22, 0.51, 0.11, 0.11, (250, 246, 232))
    pen.oval(0.22, 0.51, 0.02, 0.02, (40, 40, 40))
    for x in (0.43, 0.57, 0.71):
        pen.box(x, 0.07, x + 0.06, 0.22, (70, 84, 120))
        pen.oval(x + 0.03, 0.22, 0.06, 0.06, (70, 84, 120))
    pen.box(0.18, 0.0, 0.26, 0.14, (96, 60, 40))


def _wind_turbine(pen: Pen) -> None:
    pen.shape([(0.475, 0.0), (0.525, 0.0), (0.51, 0.66), (0.49, 0.66)], (236, 238, 240))
    for blade in range(3):
        angle = 0.5 + blade * 2.0 * math.pi / 3.0
        tip = (0.5 + 0.32 * math.sin(angle), 0.66 + 0.32 * math.cos(angle))
        pen.line([(0.5, 0.66), tip], 0.022, (246, 248, 250))
        pen.oval(*tip, 0.03, 0.03, (206, 48, 42))
    pen.oval(0.5, 0.66, 0.05, 0.05, (210, 212, 216))


def _ferris_wheel(pen: Pen) -> None:
    pen.shape(
        [(0.3, 0.0), (0.34, 0.0), (0.5, 0.53), (0.66, 0.0), (0.7, 0.0), (0.52, 0.56), (0.48, 0.56)], (60, 92, 150)
    )
    pen.ring(0.5, 0.54, 0.84, 0.014, (232, 232, 240))
    pen.ring(0.5, 0.54, 0.72, 0.01, (232, 232, 240))
    cabins = ((214, 62, 70), (238, 196, 60), (64, 160, 96), (70, 120, 210), (176, 84, 190), (240, 136, 52))
    for spoke in range(12):
        angle = spoke * math.pi / 6.0
        x, y = 0.5 + 0.42 * math.sin(angle), 0.54 + 0.42 * math.cos(angle)
        pen.line([(0.5, 0.54), (x, y)], 0.006, (216, 220, 232))
        pen.oval(x, y - 0.02, 0.075, 0.075, cabins[spoke % len(cabins)])


def _lighthouse(pen: Pen) -> None:
    for part in range(5):
        low, high = 0.78 * part / 5, 0.78 * (part + 1) / 5
        colour = (240, 240, 238) if part % 2 else (192, 44, 44)
        pen.shape([(0.36 + 0.08 * low, low), (0.64 - 0.08 * low, low),
                   (0.64 - 0.08 * high, high), (0.36 + 0.08 * high, high)], colour)  # fmt: skip
    pen.box(0.38, 0.77, 0.62, 0.8, (50, 52, 58))
    pen.box(0.43, 0.8, 0.57, 0.89, (252, 226, 130))
    pen.shape([(0.4, 0.89), (0.5, 0.99), (0.6, 0.89)], (192, 44, 44))


def _billboard(pen: Pen) -> None:
    pen.box(0.24, 0.0, 0.28, 0.4, (90, 92, 96))
    pen.box(0.72, 0.0, 0.76, 0.4, (90, 92, 96))
    pen.box(0.05, 0.36, 0.95, 0.94, (32, 34, 40))
    pen.box(0.08, 0.39, 0.92, 0.91, (250, 214, 64))
    pen.oval(0.3, 0.65, 0.36, 0.4, (214, 56, 66))
    pen.oval(0.3, 0.65, 0.18, 0.2, (250, 250, 246))
    for row, colour in enumerate(((30, 60, 140), (36, 140, 110), (30, 60, 140))):
        pen.box(0.55, 0.46 + row * 0.15, 0.88 - 0.08 * row, 0.54 + row * 0.15, colour)


def _silos(pen: Pen) -> None:
    for x, top, colour in ((0.06, 0.7, (198, 202, 206)), (0.34, 0.84, (176, 182, 188)), (0.62, 0.62, (206, 208, 204))):
        pen.box(x, 0.0, x + 0.25, top, colour)
        pen.box(x, 0.0, x + 0.06, top, _shade(colour, 1.14))
        pen.oval(x + 0.125, top, 0.25, 0.14, _shade(colour, 0.86))
        for ring in range(1, 8):
            if ring * 0.1 < top:
                pen.box(x, ring * 0.1, x + 0.25, ring * 0.1 + 0.008, _shade(colour, 0.7))
    pen.line([(0.3, 0.86), (0.88, 0.7)], 0.03, (190, 74, 44))


def _crane(pen: Pen) -> None:
    yellow = (238, 178, 40)
    pen.box(0.28, 0.0, 0.34, 0.95, yellow)
    for rung in range(14):
        y = rung * 0.065
        pen.line([(0.28, y), (0.34, y + 0.065)], 0.008, (120, 84, 20))
    pen.box(0.02, 0.8, 0.98, 0.85, yellow)
    for rung in range(15):
        pen.line([(0.04 + rung * 0.065, 0.8), (0.08 + rung * 0.065, 0.85)], 0.007, (120, 84, 20))
    pen.line([(0.31, 0.97), (0.96, 0.84)], 0.006, (60, 60, 60))
    pen.box(0.03, 0.7, 0.15, 0.82, (110, 112, 116))
    pen.line([(0.78, 0.8), (0.78, 0.4)], 0.006, (40, 40, 40))
    pen.box(0.71, 0.32, 0.85, 0.4, (180, 96, 60))


def _containers(pen: Pen) -> None:
    colours = ((40, 96, 160), (200, 70, 50), (60, 140, 90), (232, 150, 40), (120, 70, 130), (220, 220, 214))
    for row in range(4):
        for column in range(3 - (row > 2)):
            left, bottom = 0.03 + column * 0.32 + 0.03 * (row % 2), row * 0.16
            colour = colours[(row * 5 + column * 2) % len(colours)]
            pen.box(left, bottom, left + 0.3, bottom + 0.15, colour)
            for rib in range(1, 10):
                pen.box(left + rib * 0.03, bottom, left + rib * 0.03 + 0.008, bottom + 0.15, _shade(colour, 0.72))


def _castle(pen: Pen) -> None:
    stone = (170, 158, 140)
    pen.box(0.12, 0.0, 0.88, 0.4, stone)
    for x, top in ((0.02, 0.62), (0.42, 0.8), (0.82, 0.58)):
        pen.box(x, 0.0, x + 0.16, top, _shade(stone, 0.9))
        for notch in range(3):
            pen.box(x + 0.065 * notch, top, x + 0.065 * notch + 0.03, top + 0.05, _shade(stone, 0.9))
        pen.box(x + 0.06, top - 0.2, x + 0.1, top - 0.08, (50, 46, 44))
    pen.line([(0.5, 0.8), (0.5, 0.99)], 0.008, (60, 60, 60))
    pen.shape([(0.5, 0.99), (0.68, 0.95), (0.5, 0.91)], (206, 40, 60))
    pen.box(0.44, 0.0, 0.56, 0.2, (80, 56, 38))


LANDMARKS: tuple[tuple[Callable[[Pen], None], float, float], ...] = (
    (_water_tower, 92.0, 30.0), (_radio_mast, 150.0, 70.0), (_church, 84.0, 34.0), (_wind_turbine, 190.0, 80.0),
    (_ferris_wheel, 110.0, 50.0), (_lighthouse, 100.0, 36.0), (_billboard, 70.0, 15.0), (_silos, 96.0, 28.0),
    (_crane, 120.0, 56.0), (_containers, 74.0, 14.0), (_castle, 130.0, 44.0), (_wind_turbine, 240.0, 86.0),
)  # fmt: skip
"""How to draw each landmark, how far away it stands and how high it is, in metres."""


def landmark(number: int, size: int) -> UInt8Array:
    """Draw a landmark."""
    pen = Pen(size)
    LANDMARKS[number][0](pen)
    return pen.finish()


def car(size: int, body: Paint, *, bus: bool = False) -> UInt8Array:
    """Draw a car or a bus from its side."""
    pen = Pen(size)
    glass = (52, 66, 84)
    if bus:
        pen.box(0.02, 0.08, 0.98, 0.5, body)
        for pane in range(6):
            pen.box(0.06 + pane * 0.152, 0.27, 0.18 + pane * 0.152, 0.44, glass)
        pen.box(0.02, 0.17, 0.98, 0.2, (246, 246, 246))
    else:
        pen.box(0.02, 0.1, 0.98, 0.26, body)
        pen.shape([(0.18, 0.25), (0.32, 0.42), (0.68, 0.42), (0.84, 0.25)], body)
        pen.shape([(0.24, 0.26), (0.34, 0.39), (0.49, 0.39), (0.49, 0.26)], glass)
        pen.shape([(0.52, 0.26), (0.52, 0.39), (0.66, 0.39), (0.77, 0.26)], glass)
        pen.box(0.94, 0.18, 0.98, 0.23, (255, 240, 190))
        pen.box(0.02, 0.18, 0.05, 0.23, (200, 30, 30))
    for x in (0.22, 0.78):
        pen.oval(x, 0.1, 0.19, 0.19, (28, 28, 30))
        pen.oval(x, 0.1, 0.09, 0.09, (170, 172, 176))
    return pen.finish()


def balloon(size: int) -> UInt8Array:
    """Draw a hot-air balloon in stripes."""
    pen = Pen(size)
    stripes = ((214, 52, 60), (246, 214, 70), (214, 52, 60), (250, 250, 246), (52, 96, 190))
    for stripe, colour in enumerate(stripes):
        pen.oval(0.5, 0.62, 0.72 * (1.0 - stripe / 5.0), 0.74, colour)
    pen.shape([(0.28, 0.32), (0.72, 0.32), (0.57, 0.14), (0.43, 0.14)], (52, 96, 190))
    pen.box(0.43, 0.02, 0.57, 0.11, (128, 84, 48))
    pen.line([(0.44, 0.1), (0.4, 0.18)], 0.008, (60, 50, 40))
    pen.line([(0.56, 0.1), (0.6, 0.18)], 0.008, (60, 50, 40))
    return pen.finish()


def bird(size: int) -> UInt8Array:
    """Draw a gliding bird."""
    pen = Pen(size)
    pen.shape([(0.02, 0.66), (0.3, 0.62), (0.5, 0.48), (0.7, 0.62), (0.98, 0.66), (0.7, 0.5), (0.5, 0.36), (0.3, 0.5)],
              (44, 42, 46))  # fmt: skip
    pen.oval(0.5, 0.46, 0.1, 0.22, (60, 56, 58))
    return pen.finish()


def disc(size: int, core: Paint, glow: Paint) -> UInt8Array:
    """Draw a shining disc with a halo: the sun or the moon. The halo's transparency falls off smoothly."""
    axis = (np.arange(size) + 0.5) / size * 2.0 - 1.0
    radius = np.hypot(axis[None, :], axis[:, None])
    picture = np.empty((size, size, 4), np.uint8)
    inside = np.clip((0.36 - radius) * 24.0 + 0.5, 0.0, 1.0)
    picture[..., :3] = np.asarray(glow) + (np.asarray(core) - np.asarray(glow)) * inside[..., None]
    picture[..., 3] = 255.0 * np.maximum(inside, 0.55 * np.clip(1.0 - radius, 0.0, 1.0) ** 2)
    return picture
