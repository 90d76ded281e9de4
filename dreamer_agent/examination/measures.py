"""What an arm's walk and answers come to, one number a seed.

A walk is where the camera looked, frame by frame: ``pan`` and ``tilt [F]`` in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dreamer_agent.examination.zones import ATTRACTIVE, Zone, ZoneLayout

ATTRACTION_FRAMES = 1500
"""Frames after the onset in which attraction is counted, or as many as there are."""
COVERAGE_FRAMES = 1000
LEARNT = 0.8
"""Share of the variance of a zone's views that the arm's world model explains when the zone counts as learnt."""
HABITUATION_FRAMES = 1000
HABITUATION_WINDOW = 250
NEVER = 2.0
"""What frames are counted as, in units of the other arm's, where an arm never got there."""
_GRID_DEGREES = 3.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Walk:
    """Where a camera looked, and in which zone that was."""

    pan: Floats
    tilt: Floats
    zones: Ints

    @classmethod
    def of(cls, poses: npt.ArrayLike, layout: ZoneLayout) -> Walk:
        """Grade ``poses [F, 2]``: pan and tilt in degrees."""
        where = np.asarray(poses, np.float64)
        return cls(where[:, 0], where[:, 1], layout.zone_at(where[:, 0]))

    def __len__(self) -> int:
        return len(self.pan)

    def share(self, zones: Sequence[Zone], frames: slice) -> float:
        """Return the share of these frames in any of ``zones``."""
        return float(np.isin(self.zones[frames], zones).mean())


def attraction_share(walk: Walk, onset: int) -> float:
    """Return the share of frames in HARD and NEW after the onset."""
    return walk.share(ATTRACTIVE, slice(onset, onset + ATTRACTION_FRAMES))


def tv_share(walk: Walk) -> float:
    """Return the share of the last third of frames in the TV."""
    return walk.share([Zone.TV], slice(2 * len(walk) // 3, len(walk)))


def habituation_share(walk: Walk, onset: int, looks: Sequence[tuple[int, float, float]]) -> float | None:
    """Return the smallest share in HARD and NEW of any 250 frames in the 1,000 after both were learnt.

    ``looks``: a frame, and the variance explained of HARD and of NEW then. None where they never were learnt, or too
    late to tell.
    """
    learnt = learnt_at(onset, looks)
    if learnt is None or learnt + HABITUATION_WINDOW > len(walk):
        return None
    inside = np.isin(walk.zones[learnt : learnt + HABITUATION_FRAMES], ATTRACTIVE).astype(np.float64)
    sums = np.convolve(inside, np.ones(HABITUATION_WINDOW), mode="valid") / HABITUATION_WINDOW
    return float(sums.min())


def learnt_at(onset: int, looks: Sequence[tuple[int, float, float]]) -> int | None:
    """Return the first look after the onset at which the world model explains both HARD and NEW; None if none does."""
    return next((frame for frame, *explained in looks if frame >= onset and min(explained) >= LEARNT), None)


def coverage(walk: Walk, layout: ZoneLayout, half_width: float) -> float:
    """Return the share of the solid angle between the limits of tilt that the last 1,000 views showed.

    ``half_width`` is half a square view's angle, in degrees.
    """
    tilts = np.arange(layout.tilt_min + _GRID_DEGREES / 2.0, layout.tilt_max, _GRID_DEGREES)
    pans = np.arange(-180.0 + _GRID_DEGREES / 2.0, 180.0, _GRID_DEGREES)
    tilt, pan = (np.radians(each.ravel()) for each in np.meshgrid(tilts, pans, indexing="ij"))
    points = np.stack([np.cos(tilt) * np.cos(pan), np.cos(tilt) * np.sin(pan), np.sin(tilt)], axis=1)
    # Places closer together than this show the same, as far as a grid of some degrees can tell.
    places = np.unique(np.round(np.stack([walk.pan, walk.tilt], 1)[-COVERAGE_FRAMES:]), axis=0)
    at, up = np.radians(places).T
    still = np.zeros_like(at)
    ahead = points @ np.stack([np.cos(up) * np.cos(at), np.cos(up) * np.sin(at), np.sin(up)])
    across = points @ np.stack([-np.sin(at), np.cos(at), still])
    above = points @ np.stack([-np.sin(up) * np.cos(at), -np.sin(up) * np.sin(at), np.cos(up)])
    reach = math.tan(math.radians(half_width)) * ahead
    seen = ((ahead > 0.0) & (np.abs(across) <= reach) & (np.abs(above) <= reach)).any(axis=1)
    weights = np.cos(tilt)
    return float(weights[seen].sum() / weights.sum())


def frames_to(curve: Sequence[tuple[int, float]], error: float) -> float | None:
    """Return how many frames a fresh world model needed to come down to ``error``; None if it never did.

    ``curve``: frames and the error reached with them, in growing order of frames; in between, and from nothing to the
    first point, logarithm against logarithm.
    """
    before: tuple[int, float] | None = None
    for frames, reached in curve:
        if reached <= error:
            if before is None or before[1] <= reached:
                return float(frames)
            share = math.log(before[1] / error) / math.log(before[1] / reached)
            return math.exp(math.log(before[0]) + share * math.log(frames / before[0]))
        before = (frames, reached)
    return None


def frames_ratio(ours: Sequence[tuple[int, float]], theirs: Sequence[tuple[int, float]]) -> float:
    """Return our frames over theirs to the error that both reach, or theirs at the end where we never do.

    The error is that which theirs ends at, unless it was lower before; ``NEVER`` where we do not reach it.
    """
    goal = theirs[-1][1]
    needed, other = frames_to(ours, goal), frames_to(theirs, goal)
    return NEVER if needed is None or other is None else min(NEVER, needed / other)


def fidelity_ratios(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the dreamed errors over those of copy-last and of the mean, by the number of moves."""
    return {
        f"{floor}_{step}": errors["error"] / errors[floor]
        for step, errors in found.items()
        for floor in ("copy_last", "mean")
    }
