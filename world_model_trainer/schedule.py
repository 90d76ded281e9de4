"""How fast to learn: a warm-up, a cosine over a stated number of steps, then a floor for the rest of life."""

from __future__ import annotations

import math


def rate_share(step: int, *, since_start: int, warm_up: int, horizon: int, floor: float) -> float:
    """Return the share of the full learning rate for one step.

    ``step`` counts over the life of the world model, ``since_start`` since the optimiser was made: moments that start
    from nothing need a warm-up again, whatever the world model's age. A ``horizon`` of 0 means no cosine.
    """
    warm = min(1.0, (since_start + 1) / max(1, warm_up))
    if horizon == 0:
        return warm
    done = min(1.0, step / horizon)
    return warm * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done)))
