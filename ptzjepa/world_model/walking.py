"""Where evaluated and trained-on views are taken: random walks under PTZJEPA-like moves, and unrelated poses.

Arrays throughout: poses ``[..., 3]`` float32 (degrees, degrees, magnification), seconds float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_sampler.simulation.motion import Speeds
from shared.pose import PoseLimits

LIMITS = PoseLimits()
TURNS = np.array([-10.0, -2.0, -0.2, 0.0, 0.2, 2.0, 10.0])
ZOOMS = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
LEAP_SHARE = 0.3
"""Of the moves, those that are drawn from whole ranges: agents and operators do not only nudge."""
LEAP = np.array([20.0, 15.0, 0.4])

CELL_DEGREES = 10.0
HELD_OUT_SHARE = 0.2
"""Of the cells of 10° × 10° of pan and tilt, at every zoom, those whose poses no probe is fitted at."""

Array = npt.NDArray[Any]


def poses_anywhere(generator: np.random.Generator, count: int) -> Array:
    """Draw ``[count, 3]`` poses: uniform in pan, tilt and log zoom."""
    return np.stack(
        [
            generator.uniform(LIMITS.pan_min, LIMITS.pan_max, count),
            generator.uniform(LIMITS.tilt_min, LIMITS.tilt_max, count),
            np.exp(generator.uniform(0.0, math.log(LIMITS.zoom_max), count)),
        ],
        axis=1,
    ).astype(np.float32)


class PoseCells:
    """Divides all poses by cells of pan and tilt into those to fit at and those held out."""

    def __init__(self, seed: int) -> None:
        self._across = math.ceil((LIMITS.pan_max - LIMITS.pan_min) / CELL_DEGREES)
        self._up = math.ceil((LIMITS.tilt_max - LIMITS.tilt_min) / CELL_DEGREES)
        cells = self._across * self._up
        self._held_out = np.zeros(cells, bool)
        self._held_out[np.random.default_rng(seed).permutation(cells)[: round(HELD_OUT_SHARE * cells)]] = True

    def held_out(self, poses: Array) -> Array:
        """Tell which of ``poses [N, 3]`` are held out: ``[N]`` bool."""
        across = np.floor((poses[:, 0] - LIMITS.pan_min) / CELL_DEGREES).astype(int).clip(0, self._across - 1)
        up = np.floor((poses[:, 1] - LIMITS.tilt_min) / CELL_DEGREES).astype(int).clip(0, self._up - 1)
        chosen: Array = self._held_out[across * self._up + up]
        return chosen

    def draw(self, generator: np.random.Generator, count: int, *, held_out: bool) -> Array:
        """Draw ``[count, 3]`` poses, uniform over those that are, or are not, held out."""
        found = np.empty((0, 3), np.float32)
        while len(found) < count:
            poses = poses_anywhere(generator, count)
            found = np.concatenate([found, poses[self.held_out(poses) == held_out]])
        return found[:count]


def walk(generator: np.random.Generator, count: int, moves: int) -> tuple[Array, Array]:
    """Walk ``count`` times by ``moves`` moves from anywhere.

    Each axis moves by itself; zoom stays on tenths, as cameras report it. Returns poses ``[count, moves + 1, 3]`` and
    actions ``[count, moves, 3]``: what the poses differ by, so that a move against a limit is what came of it.
    """
    start = poses_anywhere(generator, count)
    nudges = np.stack([generator.choice(steps, (count, moves)) for steps in (TURNS, TURNS, ZOOMS)], axis=-1)
    leaps = generator.uniform(-1.0, 1.0, (count, moves, 3)) * LEAP
    wanted = np.where(generator.random((count, moves, 1)) < LEAP_SHARE, leaps, nudges)
    poses = np.empty((count, moves + 1, 3), np.float32)
    poses[:, 0] = reachable(start, tenths=True)
    for step in range(moves):
        poses[:, step + 1] = reachable(poses[:, step] + wanted[:, step], tenths=True)
    return poses, change(poses)


def reachable(poses: Array, *, tenths: bool = False) -> Array:
    """Return the reachable poses nearest to ``poses [..., 3]``: pan wraps, tilt and zoom stop at their limits."""
    zoom = np.round(poses[..., 2], 1) if tenths else poses[..., 2]
    return np.stack(
        [
            (poses[..., 0] + 180.0) % 360.0 - 180.0,
            poses[..., 1].clip(LIMITS.tilt_min, LIMITS.tilt_max),
            zoom.clip(1.0, LIMITS.zoom_max),
        ],
        axis=-1,
    ).astype(np.float32)


def change(poses: Array) -> Array:
    """Return what neighbouring ``poses [..., T+1, 3]`` differ by: ``[..., T, 3]``, pan the shorter way."""
    difference = np.diff(poses, axis=-2)
    difference[..., 0] = (difference[..., 0] + 180.0) % 360.0 - 180.0
    return difference.astype(np.float32)


def passing(start: Array, actions: Array, speeds: Speeds | None = None) -> Array:
    """Return when each view of walks is taken: ``start [B]`` seconds, then as long as the moves take; ``[B, T+1]``."""
    speeds = speeds or Speeds()
    slowest = (np.abs(actions) / np.array([speeds.pan, speeds.tilt, speeds.zoom])).max(axis=-1) + speeds.settle
    return np.concatenate([start[:, None], start[:, None] + np.cumsum(slowest, axis=1)], axis=1)
