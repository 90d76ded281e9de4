"""The baseline that looks everywhere in turn, as a surveillance tour does."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent
from shared.errors import UserError
from shared.pose import PoseLimits


class RasterAgent(Agent):
    """Sweeps the whole range row by row, there and back, in the largest pure pan and tilt moves of the table.

    Limits stop the camera, so the sweep finds its place from wherever it starts. All dreams of a batch sweep in step.
    """

    algorithm: ClassVar[str] = "raster"

    def __init__(self, deltas: Tensor, limits: PoseLimits) -> None:
        right, left = (_largest(deltas, 0, sign) for sign in (1, -1))
        up, down = (_largest(deltas, 1, sign) for sign in (1, -1))
        columns = _moves(limits.pan_max - limits.pan_min, float(deltas[right, 0]), -float(deltas[left, 0]))
        rows = _moves(limits.tilt_max - limits.tilt_min, float(deltas[up, 1]), -float(deltas[down, 1]))
        self._plan: list[int] = []
        for vertical in (up, down):
            for _ in range(rows):
                self._plan += [right] * columns + [vertical] + [left] * columns + [vertical]
        self._actions, self._step = len(deltas), 0

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: certainty for the move whose turn it is."""
        del embedding
        log_probs = torch.full((len(pose), self._actions), -math.inf, device=pose.device)
        log_probs[:, self._plan[self._step % len(self._plan)]] = 0.0
        return log_probs

    def moved(self, actions: Tensor) -> None:
        """See ``Agent.moved``."""
        del actions
        self._step += 1


def _moves(span: float, *sizes: float) -> int:
    return max(1, math.ceil(span / min(sizes)))


def _largest(deltas: Tensor, axis: int, sign: int) -> int:
    """Return the index of the largest move that changes this axis alone, in this direction."""
    alone = (deltas != 0.0).sum(dim=1) == 1
    changes = torch.where(alone, sign * deltas[:, axis], 0.0)
    best = int(changes.argmax())
    if float(changes[best]) <= 0.0:
        name = ("pan", "tilt", "zoom")[axis]
        raise UserError(f"the action table has no move that changes {name} alone both ways; a raster needs one")
    return best
