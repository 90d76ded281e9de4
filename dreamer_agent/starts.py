"""Where dreams start: the newest views, with more weight on recent and on surprising ones."""

from __future__ import annotations

import math
import random
import threading
from collections import OrderedDict
from dataclasses import dataclass

from shared.pose import Pose, PoseLimits

RECENT_VIEWS = 64
"""Weight of recency falls by a factor of e over so many views."""
_MEMORY = 2
"""Surprises are remembered for so many times more views than the pool holds: their news may come before the view's."""


@dataclass(frozen=True)
class Start:
    """One view that dreams can start from."""

    view: str
    jpeg: bytes
    pose: Pose
    limits: PoseLimits


class StartPool:
    """The newest ``capacity`` views and how much each surprised. One draw of two follows recency, one surprise.

    Safe to use from several threads.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._starts: OrderedDict[str, Start] = OrderedDict()
        self._errors: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: Start) -> None:
        """Take in a view; one that is known already changes nothing. The oldest goes when the pool is full."""
        with self._lock:
            self._starts.setdefault(start.view, start)
            while len(self._starts) > self._capacity:
                self._starts.popitem(last=False)

    def forget(self, view: str) -> None:
        """Drop a view, for it turned out to be unusable."""
        with self._lock:
            self._starts.pop(view, None)

    def surprised(self, view: str, error: float) -> None:
        """Note how wrong the world model was about a view."""
        with self._lock:
            self._errors[view] = error
            self._errors.move_to_end(view)
            while len(self._errors) > _MEMORY * self._capacity:
                self._errors.popitem(last=False)

    def weights(self) -> list[float]:
        """Return every view's share of the draws, oldest view first; they sum to one."""
        with self._lock:
            return self._weights()

    def draw(self, count: int, rng: random.Random) -> list[Start]:
        """Return ``count`` starts, the same view possibly more than once; none from an empty pool."""
        with self._lock:
            if not self._starts:
                return []
            return rng.choices(list(self._starts.values()), weights=self._weights(), k=count)

    def _weights(self) -> list[float]:
        count = len(self._starts)
        recency = [math.exp(-(count - 1 - place) / RECENT_VIEWS) for place in range(count)]
        known = [self._errors.get(view) for view in self._starts]
        heard = [error for error in known if error is not None]
        # A view that the trainer has not judged yet counts as an average one.
        average = sum(heard) / len(heard) if heard else 0.0
        surprise = [average if error is None else error for error in known]
        total, all_recency = sum(surprise), sum(recency)
        if total <= 0.0:
            return [value / all_recency for value in recency]
        return [0.5 * new / all_recency + 0.5 * odd / total for new, odd in zip(recency, surprise, strict=True)]
