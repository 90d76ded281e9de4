"""Which views stay when there is no room for all.

Views are kept and given up in blocks, each so many views in the order in which they came, so that what moves link stays
together. The newest blocks stay: the recent window. Of all blocks that ever left it, the reservoir keeps a sample in
which each has the same chance; a third part keeps those that surprised, the more the likelier. So a place that the
camera left long ago is never forgotten altogether, and neither is what was hard.

Nothing of this is stored. A block's chances are numbers made from its own number and the seed, and membership follows
from the chances: a restart finds the same parts again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RECENT, RESERVOIR = 0.25, 0.5
"""Shares of the room; what remains keeps surprising blocks."""
HELD_OUT_EVERY, HELD_OUT_AT = 16, 4
"""Of so many blocks in a row, the one at this place is held out."""
HELD_OUT_SHARE = 1.0 / HELD_OUT_EVERY
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0

_RESERVOIR_CHANCE, _SURPRISE_CHANCE = 1, 2

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Blocks in their order: their numbers, how many views are left of each, and how surprising these were (mean 1)."""

    numbers: Ints
    views: Ints
    weights: npt.NDArray[np.float64]

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> Blocks:
        return Blocks(self.numbers[chosen], self.views[chosen], self.weights[chosen])


def is_held_out(numbers: Ints) -> npt.NDArray[np.bool_]:
    """Tell which blocks are never trained on: a stretch of time, again and again."""
    held: npt.NDArray[np.bool_] = numbers % HELD_OUT_EVERY == HELD_OUT_AT
    return held


def leaves_next(blocks: Blocks, *, room: int, seed: int) -> int:
    """Return the number of the block to give up when ``room`` views are too few for more."""
    held = blocks[is_held_out(blocks.numbers)]
    bound = room * HELD_OUT_SHARE
    if held.views.sum() > bound:
        return _leaves(held, bound, seed, recent=0.5, reservoir=0.5)
    return _leaves(blocks[~is_held_out(blocks.numbers)], room - bound, seed, recent=RECENT, reservoir=RESERVOIR)


def _leaves(blocks: Blocks, room: float, seed: int, *, recent: float, reservoir: float) -> int:
    newer = np.cumsum(blocks.views[::-1])[::-1] - blocks.views
    rest = blocks[newer >= max(1.0, recent * room)]
    if not len(rest.numbers):
        return int(blocks.numbers[0])
    chance = _chances(rest.numbers, seed, _RESERVOIR_CHANCE)
    best_first = np.argsort(-chance)
    inside = np.cumsum(rest.views[best_first]) <= reservoir * room
    outside = best_first[~inside]
    if not len(outside):
        return int(rest.numbers[best_first[-1]])
    # Efraimidis and Spirakis, 2006: the largest u^(1/w) are a sample without replacement, weighted by w.
    weights = np.clip(rest.weights[outside], LEAST_WEIGHT, MOST_WEIGHT)
    rank = np.log(_chances(rest.numbers[outside], seed, _SURPRISE_CHANCE)) / weights
    return int(rest.numbers[outside[np.argmin(rank)]])


def _chances(numbers: Ints, seed: int, purpose: int) -> npt.NDArray[np.float64]:
    """Return a number in (0, 1) for each block, always the same one (SplitMix64)."""
    start = np.uint64((seed * 4 + purpose) * 0x9E37_79B9_7F4A_7C15 % 2**64)
    mixed = _mixed(_mixed(start + np.zeros(1, np.uint64)) + numbers.astype(np.uint64))
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = value + np.uint64(0x9E37_79B9_7F4A_7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return value ^ (value >> np.uint64(31))
