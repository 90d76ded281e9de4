"""What a simulated camera can look at: a photograph, or a scene that the project generates itself."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from camera_sampler.simulation.daylight import Daylight
from camera_sampler.simulation.landscape import LAND, UInt8Array
from camera_sampler.simulation.movers import moving_objects
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.planting import PANORAMA_WIDTH, paint_panorama
from camera_sampler.simulation.renderer import Renderer
from shared.memory import return_freed_memory
from shared.pose import Pose

DAY_SECONDS = 3600.0
"""A day of the generated scene, in its own seconds."""


class Scene(Protocol):
    """A world around the camera. Not for use by several threads at once."""

    def render(self, pose: Pose, width: int, height: int, at_seconds: float) -> UInt8Array:
        """Return what the camera sees at ``pose`` and at a moment of the scene's time: uint8 [height, width, 3]."""

    def equirectangular(self, width: int) -> UInt8Array:
        """Return the whole scene by daylight, for maps: uint8 [width / 2, width, 3]."""


class StillScene:
    """A photograph: the same at every moment."""

    def __init__(self, panorama: Panorama) -> None:
        self._renderer = Renderer(panorama)

    def render(self, pose: Pose, width: int, height: int, at_seconds: float) -> UInt8Array:
        """See ``Scene.render``."""
        return self._renderer.render(pose, width, height)

    def equirectangular(self, width: int) -> UInt8Array:
        """See ``Scene.equirectangular``."""
        return _scaled(self._renderer.panorama.image, width)


class GeneratedScene:
    """A park inside a ring road, with a town and hills around it, under a sky that goes through days and nights.

    ``seed`` names the scene: the same seed gives the same picture at the same moment, always.
    """

    def __init__(
        self, seed: int = 0, *, day_seconds: float = DAY_SECONDS, panorama_width: int = PANORAMA_WIDTH
    ) -> None:
        self._renderer = Renderer(_painted(seed, panorama_width))
        self._daylight = Daylight(day_seconds)
        self._movers = moving_objects(np.random.default_rng((seed, 2)), self._daylight)

    def render(self, pose: Pose, width: int, height: int, at_seconds: float) -> UInt8Array:
        """See ``Scene.render``."""
        view = self._renderer.render_materials(pose, width, height)
        light = self._daylight.light(at_seconds)
        lit, gain = light.shine_on(view), light.gain[LAND]
        rays = self._renderer.rays(width, height, pose.zoom)
        for mover in self._movers:
            mover.paint(lit, view[..., 3], pose, rays, at_seconds, gain)
        return lit

    def equirectangular(self, width: int) -> UInt8Array:
        """See ``Scene.equirectangular``. What moves is left out."""
        return _scaled(self._renderer.panorama.image, width)


@lru_cache(maxsize=2)
def _painted(seed: int, width: int) -> Panorama:
    # Painting takes seconds, and environments of one process often share a scene.
    panorama = Panorama(paint_panorama(seed, width))
    return_freed_memory()
    return panorama


def _scaled(image: UInt8Array, width: int) -> UInt8Array:
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, width // 2), Image.Resampling.BOX))


def open_scene(panorama: Path | None, *, seed: int = 0, day_seconds: float = DAY_SECONDS) -> Scene:
    """Return the scene of a panorama file, or the generated one. ``UserError`` when the file is no panorama."""
    if panorama is None:
        return GeneratedScene(seed, day_seconds=day_seconds)
    return StillScene(Panorama.load(panorama))
