"""The arithmetic of the grader: ranks, and intervals by the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 4000
LEVEL = 0.95
"""Both bounds are one-sided at this level, so between them lie nine of ten resamples."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its one-sided lower and upper bounds."""

    mean: float
    low: float
    high: float
    seeds: int

    def as_dict(self) -> dict[str, float | int]:
        """Return what the result's file holds."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": self.seeds}


def bootstrap(values: npt.ArrayLike, *, seed: int = 0) -> Interval | None:
    """Return the mean of ``values [S]``, one a seed, with percentile bounds; None of none."""
    known = np.asarray(values, np.float64)
    if not len(known):
        return None
    rows = _resamples(len(known), seed)
    return _interval(float(known.mean()), known[rows].mean(axis=1), len(known))


def _resamples(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))


def _interval(mean: float, resampled: Floats, seeds: int) -> Interval:
    low, high = np.quantile(resampled, [1.0 - LEVEL, LEVEL])
    return Interval(mean, float(low), float(high), seeds)


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the correlation of the ranks of ``first [N]`` and ``second [N]``; 0 where one of them is constant."""
    ranks = [_ranks(np.asarray(each, np.float64)) for each in (first, second)]
    deviations = [rank - rank.mean() for rank in ranks]
    size = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return float((deviations[0] * deviations[1]).sum()) / size if size > 0.0 else 0.0


def _ranks(values: Floats) -> Floats:
    """Rank ``values [N]``; equal ones share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    found: Floats = (last - (counts - 1) / 2.0)[place]
    return found
