"""How much of its reach a camera has looked at lately."""

from __future__ import annotations

from collections import Counter, deque

from shared.pose import Pose, PoseLimits
from shared.viewing import WIDEST, Optics, tour

LATELY = 1000
"""Views."""


class Coverage:
    """Counts the cells of a tour of the camera's reach that the latest views looked at."""

    def __init__(self, optics: Optics) -> None:
        self._optics = optics
        self._limits: PoseLimits | None = None
        self._cells: list[Pose] = []
        self._latest: deque[int | None] = deque()
        self._looks = Counter[int]()

    def saw(self, pose: Pose, limits: PoseLimits) -> None:
        """Take a view into account. One that is zoomed in far shows too little of a cell to count for it."""
        if limits != self._limits:
            self._limits, self._cells = limits, tour(limits, self._optics)
            self._latest.clear()
            self._looks.clear()
        self._latest.append(self._nearest(pose) if pose.zoom < WIDEST else None)
        if (cell := self._latest[-1]) is not None:
            self._looks[cell] += 1
        if len(self._latest) > LATELY and (left := self._latest.popleft()) is not None:
            self._looks[left] -= 1

    @property
    def ratio(self) -> float:
        """The share of all cells; NaN before the first view."""
        if not self._cells:
            return float("nan")
        return sum(looks > 0 for looks in self._looks.values()) / len(self._cells)

    def _nearest(self, pose: Pose) -> int:
        return min(range(len(self._cells)), key=lambda cell: pose.degrees_to(self._cells[cell]))
