"""Whether training still gets anywhere: relative, because errors have the unit of an embedding space that moves.

Both numbers it looks at are errors divided by those of predicting no change: of held-out views, which say whether
anything is still learnt, and of fresh views, which say whether the world has changed.
"""

from __future__ import annotations

from pydantic import BaseModel

_ALPHA = 0.5
"""Weight of the newest value in the running means."""


class PlateauState(BaseModel):
    """What the detector remembers; part of the training state."""

    best: float | None = None
    since_best: int = 0
    held_out: float | None = None
    fresh: float | None = None
    held_out_then: float | None = None
    fresh_then: float | None = None
    """Running means when the plateau began."""
    on_plateau: bool = False


class Plateau:
    """On a plateau after ``patience`` values without an improvement by ``improvement``; off it when errors rise again.

    ``improvement`` and ``rise`` are shares of the value: 0.01 is one hundredth.
    """

    def __init__(self, *, patience: int, improvement: float, rise: float, state: PlateauState | None = None) -> None:
        self._patience, self._improvement, self._rise = patience, improvement, rise
        self.state = state or PlateauState()

    @property
    def reached(self) -> bool:
        """Whether it is on a plateau now."""
        return self.state.on_plateau

    def note(self, held_out: float | None, fresh: float | None) -> bool:
        """Take the newest error ratios, None where nothing was measured; returns whether it is on a plateau now."""
        state = self.state
        state.held_out = _smoothed(state.held_out, held_out)
        state.fresh = _smoothed(state.fresh, fresh)
        if state.on_plateau:
            if self._risen(state.held_out, state.held_out_then) or self._risen(state.fresh, state.fresh_then):
                self.state = PlateauState(held_out=state.held_out, fresh=state.fresh)
        elif held_out is not None and state.held_out is not None:
            self._judge(state.held_out)
        return self.reached

    def _judge(self, value: float) -> None:
        state = self.state
        if state.best is None or value < state.best * (1.0 - self._improvement):
            state.best, state.since_best = value, 0
            return
        state.since_best += 1
        if state.since_best >= self._patience:
            state.on_plateau = True
            state.held_out_then, state.fresh_then = state.held_out, state.fresh

    def _risen(self, now: float | None, then: float | None) -> bool:
        return now is not None and then is not None and now > then * (1.0 + self._rise)


def _smoothed(before: float | None, value: float | None) -> float | None:
    if value is None or before is None:
        return before if value is None else value
    return before + _ALPHA * (value - before)
