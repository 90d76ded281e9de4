"""The scene of an examination: a panorama that is blurred but for its zones.

What is hard to learn is the panorama's own detail, taken where there is most of it. Time is counted in frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.renderer import Rays, Renderer
from dreamer_agent.examination.zones import Zone, ZoneLayout
from shared.pose import Pose

WIDTH = 1024
"""Pixels of the painted panorama: three a degree, finer than a small view needs."""
BLUR_DEGREES = 14.0
QUIET = 0.12
"""Share of the blurred panorama's contrast that is left."""
LOUD = 55.0
"""Standard deviation, in grey levels, that detail is brought to."""
FADE_DEGREES = 12.0
"""Detail fades in over so much of a zone: views of a sharp border are hard to foresee, and half of them are outside."""
TV_COLUMNS, TV_ROWS = 6, 8
"""Blocks of the picture that is drawn anew for every frame: some seven degrees wide, too large to average out."""

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[Any]


class ZonedScene:
    """A panorama with zones: nothing to learn, much to learn, nothing that can be learnt, and from ``onset`` on more.

    ``equirectangular`` is uint8 [H, 2 H, 3]. The same seed and frame show the same picture, always.
    """

    def __init__(self, equirectangular: UInt8Array, layout: ZoneLayout, *, onset: int, seed: int) -> None:
        self.layout, self.onset, self._seed = layout, onset, seed
        picture = Image.fromarray(equirectangular).resize((WIDTH, WIDTH // 2), Image.Resampling.BICUBIC)
        detail = np.asarray(picture, np.float32)
        quiet = _quiet(picture)
        richest = _richest(detail, layout, 2)
        hard = _with_detail(quiet, detail, layout, Zone.HARD, richest[0])
        both = _with_detail(hard, detail, layout, Zone.NEW, richest[1])
        self._before, self._after = (Renderer(Panorama(_bytes(each))) for each in (hard, both))
        self._tv_start = layout.edges(Zone.TV)[0]

    def render(self, pose: Pose, width: int, height: int, at_seconds: float) -> UInt8Array:
        """Return what the camera sees at a frame: uint8 [height, width, 3]."""
        frame = int(at_seconds)
        renderer = self._before if frame < self.onset else self._after
        view = renderer.render(pose, width, height)
        self._show_tv(view, renderer.rays(width, height, pose.zoom), pose, frame)
        return view

    def equirectangular(self, width: int) -> UInt8Array:
        """Return the whole scene after the onset, with one picture of the TV: uint8 [width / 2, width, 3]."""
        image = Image.fromarray(np.ascontiguousarray(self._after.panorama.image))
        whole = np.array(image.resize((width, width // 2), Image.Resampling.BOX))
        pan = (np.arange(width) + 0.5) * 360.0 / width - 180.0
        tilt = 90.0 - (np.arange(width // 2) + 0.5) * 360.0 / width
        self._paint_tv(whole, *np.meshgrid(pan, tilt), self.onset)
        return whole

    def _show_tv(self, view: UInt8Array, rays: Rays, pose: Pose, frame: int) -> None:
        tilt = np.radians(pose.tilt)
        sine, cosine = np.float32(np.sin(tilt)), np.float32(np.cos(tilt))
        pan = pose.pan + np.degrees(np.arctan2(rays.x, cosine - sine * rays.y))
        rise = np.degrees(np.arcsin(np.clip((sine + cosine * rays.y) * rays.inverse_length, -1.0, 1.0)))
        self._paint_tv(view, pan, rise, frame)

    def _paint_tv(self, view: UInt8Array, pan: FloatArray, tilt: FloatArray, frame: int) -> None:
        across = (pan - self._tv_start) % 360.0 / self.layout.width
        up = (tilt + 60.0) / 120.0
        shown = (across < 1.0) & (up >= 0.0) & (up < 1.0)
        if not shown.any():
            return
        blocks = np.random.default_rng((self._seed, 11, frame % 2**32)).integers(
            0, 256, (TV_ROWS, TV_COLUMNS, 3), np.uint8
        )
        view[shown] = blocks[(up[shown] * TV_ROWS).astype(int), (across[shown] * TV_COLUMNS).astype(int)]


def _quiet(picture: Image.Image) -> FloatArray:
    """Blur away all detail and nearly all contrast; the blur runs on across the seam."""
    width, height = picture.size
    wide = Image.new("RGB", (2 * width, height))
    for place in (-width // 2, width // 2, 3 * width // 2):
        wide.paste(picture, (place, 0))
    wide = wide.filter(ImageFilter.GaussianBlur(BLUR_DEGREES / 360.0 * width))
    blurred = np.asarray(wide.crop((width // 2, 0, 3 * width // 2, height)), np.float32)
    quiet: FloatArray = blurred.mean((0, 1)) + QUIET * (blurred - blurred.mean((0, 1)))
    return quiet


def _rows(layout: ZoneLayout) -> slice:
    """Return the rows of a painted panorama that the camera looks at."""
    top, bottom = ((90.0 - tilt) / 360.0 * WIDTH for tilt in (layout.tilt_max, layout.tilt_min))
    return slice(int(top), int(bottom))


def _richest(detail: FloatArray, layout: ZoneLayout, count: int) -> list[int]:
    """Return the first columns of the ``count`` sectors with most local contrast, none overlapping another."""
    width = round(layout.width / 360.0 * WIDTH)
    seen = detail[_rows(layout)].mean(2)
    contrast = np.abs(np.diff(seen, axis=0)).mean(0)[:] + np.abs(np.diff(seen, axis=1, append=seen[:, :1])).mean(0)
    sums = np.array([np.roll(contrast, -column)[:width].sum() for column in range(WIDTH)])
    found: list[int] = []
    for column in np.argsort(-sums, kind="stable").tolist():
        apart = [min((column - other) % WIDTH, (other - column) % WIDTH) for other in found]
        if all(distance >= width for distance in apart):
            found.append(column)
        if len(found) == count:
            break
    return found


def _with_detail(onto: FloatArray, detail: FloatArray, layout: ZoneLayout, zone: Zone, source: int) -> FloatArray:
    """Return ``onto`` with a sector of detail, brought to the same contrast everywhere, in a zone."""
    columns = np.flatnonzero(layout.zone_at((np.arange(WIDTH) + 0.5) * 360.0 / WIDTH - 180.0) == zone)
    begin = layout.edges(zone)[0]
    offset = ((columns + 0.5) * 360.0 / WIDTH - 180.0 - begin) % 360.0 / 360.0 * WIDTH
    piece = detail[:, (source + offset.astype(int)) % WIDTH]
    seen = piece[_rows(layout)]
    mean, deviation = seen.mean((0, 1)), max(1.0, float(seen.std((0, 1)).mean()))
    share = _inside(layout, offset)[:, None]
    painted = onto.copy()
    painted[:, columns] = (1.0 - share) * onto[:, columns] + share * (127.0 + (piece - mean) * (LOUD / deviation))
    return painted


def _inside(layout: ZoneLayout, offset: FloatArray) -> FloatArray:
    """Return how much of the detail is shown at columns ``offset`` from the zone's first: all but near its borders."""
    degrees = offset * 360.0 / WIDTH
    from_border = np.minimum(degrees, layout.width - degrees).clip(0.0, FADE_DEGREES)
    share: FloatArray = 0.5 - 0.5 * np.cos(np.pi * from_border / FADE_DEGREES)
    return share.astype(np.float32)


def _bytes(picture: FloatArray) -> UInt8Array:
    return np.clip(picture, 0.0, 255.0).astype(np.uint8)
