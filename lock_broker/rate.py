"""How often somebody may ask: a token bucket for each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 4096
"""Buckets kept. The one unused for longest goes first: it is most likely full, and a full one is the same as none."""


class RateLimit:
    """At most ``burst`` at once and ``rate`` a second in the long run, for each key; a rate of 0 limits nobody."""

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(1.0, burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Count one request. Returns 0 if it may pass, else the seconds after which the next one may."""
        if self._rate <= 0.0:
            return 0.0
        now = self._clock()
        left, at = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        passes = left >= 1.0
        self._buckets[key] = (left - 1.0 if passes else left, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1.0 - left) / self._rate

    def __len__(self) -> int:
        return len(self._buckets)
