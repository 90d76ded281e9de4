"""Views per second of one core: the simulated camera's renderer beside a straightforward one."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Row, main, median_rate
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.renderer import Renderer, focal_length
from camera_sampler.simulation.scenes import GeneratedScene
from shared.pose import Pose

TARGETS = {64: 5000.0, 128: 1500.0, 224: None}
PANORAMA_WIDTH = 2048
_POSES = 64

UInt8Array = npt.NDArray[np.uint8]


def reference(image: UInt8Array, pose: Pose, width: int, height: int) -> UInt8Array:
    """Render the textbook's way: rotate every ray, gather four float colours, blend."""
    focal = focal_length(width, pose.zoom)
    x = np.broadcast_to((np.arange(width) + 0.5 - width / 2) / focal, (height, width))
    y = np.broadcast_to(((height / 2 - 0.5 - np.arange(height)) / focal)[:, None], (height, width))
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    pan, tilt = math.radians(pose.pan), math.radians(pose.tilt)
    turn = np.array([(math.cos(pan), 0, math.sin(pan)), (0, 1, 0), (-math.sin(pan), 0, math.cos(pan))])
    lift = np.array([(1, 0, 0), (0, math.cos(tilt), math.sin(tilt)), (0, -math.sin(tilt), math.cos(tilt))])
    rays = rays @ (turn @ lift).T
    longitude = np.arctan2(rays[..., 0], rays[..., 2])
    latitude = np.arcsin(rays[..., 1] / np.linalg.norm(rays, axis=-1))
    rows, columns, _ = image.shape
    u = (longitude / (2 * math.pi) + 0.5) * columns - 0.5
    v = np.clip((0.5 - latitude / math.pi) * rows - 0.5, 0, rows - 1)
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    across, down = (u - left)[..., None], (v - top)[..., None]
    right, bottom = (left + 1) % columns, np.minimum(top + 1, rows - 1)
    left %= columns
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    blended: UInt8Array = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return blended


def _poses() -> list[Pose]:
    rng = np.random.default_rng(0)
    # The zooms are those that short and long moves lead to, so the rays' cache is used as it is in service.
    zooms = 1.0 + 0.1 * rng.integers(0, 21, _POSES)
    pans, tilts = rng.uniform(-180.0, 180.0, _POSES), rng.uniform(-30.0, 60.0, _POSES)
    return [Pose(pan=pan, tilt=tilt, zoom=round(zoom, 1)) for pan, tilt, zoom in zip(pans, tilts, zooms, strict=True)]


def _rate(render: Callable[[Pose], object]) -> float:
    poses = itertools.cycle(_poses())
    return median_rate(lambda: render(next(poses)), clock=time.process_time)


def measure() -> list[Row]:
    """Measure three sizes on noise of a real panorama's size, then the generated scene with light and movers."""
    image = np.random.default_rng(0).integers(0, 256, (PANORAMA_WIDTH // 2, PANORAMA_WIDTH, 3), np.uint8)
    renderer = Renderer(Panorama(image))
    rows = []
    for size, target in TARGETS.items():
        ours = _rate(lambda pose, size=size: renderer.render(pose, size, size))  # type: ignore[misc]
        plain = _rate(lambda pose, size=size: reference(image, pose, size, size))  # type: ignore[misc]
        rows.append(Row(f"panorama {size} × {size}", ours, "views/s", target, reference=plain))
    scene = GeneratedScene(0)
    rate = _rate(lambda pose: scene.render(pose, 64, 64, 100.0))
    rows.append(Row("generated scene 64 × 64", rate, "views/s"))
    return rows


if __name__ == "__main__":
    sys.exit(main("renderer", measure))
