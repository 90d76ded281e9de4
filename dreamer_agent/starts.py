"""Where dreams start: recent views, surprising ones, and the newest of every place that the camera has been at.

Without the last, an agent that stays where it is forgets what all other places are worth, and so does not leave.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections import OrderedDict
from dataclasses import dataclass

from shared.pose import Pose, PoseLimits

RECENT_VIEWS = 64
"""Weight of recency falls by a factor of e over so many views."""
PLACE = 10.0
"""Degrees of pan and of tilt that one place spans; a factor of two of zoom is another place."""
_MEMORY = 2
"""Surprises are remembered for so many times more views than the pool holds: their news may come before the view's."""


@dataclass(frozen=True)
class Start:
    """One view that dreams can start from."""

    view: str
    jpeg: bytes
    pose: Pose
    limits: PoseLimits

    @property
    def place(self) -> tuple[int, int, int]:
        """Which place its view is of."""
        pose = self.pose
        return math.floor(pose.pan / PLACE), math.floor(pose.tilt / PLACE), math.floor(math.log2(pose.zoom))


class StartPool:
    """Of ``capacity`` views half the newest, half the newest of each place; and how much each surprised.

    A third of the draws follows recency, a third surprise, and a third takes all places alike. Safe to use from
    several threads.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._starts: OrderedDict[str, Start] = OrderedDict()
        self._newest: dict[tuple[int, int, int], str] = {}
        self._errors: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: Start) -> None:
        """Take in a view; one that is known already changes nothing. When the pool is full, an old one goes."""
        with self._lock:
            if start.view in self._starts:
                return
            self._starts[start.view] = start
            self._newest[start.place] = start.view
            if len(self._starts) > self._capacity:
                self._drop(self._dispensable())

    def forget(self, view: str) -> None:
        """Drop a view, for it turned out to be unusable."""
        with self._lock:
            if view in self._starts:
                self._drop(view)

    def surprised(self, view: str, error: float) -> None:
        """Note how wrong the world model was about a view."""
        with self._lock:
            self._errors[view] = error
            self._errors.move_to_end(view)
            while len(self._errors) > _MEMORY * self._capacity:
                self._errors.popitem(last=False)

    def starts(self) -> list[Start]:
        """Return the views, the oldest first."""
        with self._lock:
            return list(self._starts.values())

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

    def _dispensable(self) -> str:
        """Return the oldest view of the older half that a newer one of its place replaces; the oldest if none is."""
        older = itertools.islice(self._starts.values(), len(self._starts) - self._capacity // 2)
        replaced = (start.view for start in older if self._newest.get(start.place) != start.view)
        return next(replaced, next(iter(self._starts)))

    def _drop(self, view: str) -> None:
        place = self._starts.pop(view).place
        if self._newest.get(place) == view:
            del self._newest[place]

    def _weights(self) -> list[float]:
        count = len(self._starts)
        recency = [math.exp(-(count - 1 - place) / RECENT_VIEWS) for place in range(count)]
        known = [self._errors.get(view) for view in self._starts]
        heard = [error for error in known if error is not None]
        # A view that the trainer has not judged yet counts as an average one.
        average = sum(heard) / len(heard) if heard else 0.0
        surprise = [average if error is None else error for error in known]
        newest = [float(self._newest.get(start.place) == view) for view, start in self._starts.items()]
        kinds = [recency, surprise, newest]
        totals = [sum(kind) for kind in kinds]
        told = [(kind, total) for kind, total in zip(kinds, totals, strict=True) if total > 0.0]
        return [sum(kind[row] / total for kind, total in told) / len(told) for row in range(count)]
