"""The baseline that looks everywhere in turn, as a surveillance tour does."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent, Mode
from shared.actions import Action, ActionTable
from shared.errors import UserError
from shared.pose import PoseLimits


class RasterAgent(Agent):
    """Sweeps the whole range row by row, there and back, in the largest pure pan and tilt moves of the table.

    Limits stop the camera, so the sweep finds its place from wherever it starts. All dreams of a batch sweep in step.
    """

    algorithm: ClassVar[str] = "raster"

    def __init__(self, table: ActionTable, limits: PoseLimits) -> None:
        right, left = (_largest(table, "pan", sign) for sign in (1, -1))
        up, down = (_largest(table, "tilt", sign) for sign in (1, -1))
        columns = _moves(limits.pan_max - limits.pan_min, abs(table[right].pan), abs(table[left].pan))
        rows = _moves(limits.tilt_max - limits.tilt_min, abs(table[up].tilt), abs(table[down].tilt))
        self._plan: list[int] = []
        for vertical in (up, down):
            for _ in range(rows):
                self._plan += [right] * columns + [vertical] + [left] * columns + [vertical]
        self._actions, self._step = len(table), 0

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: certainty for the move whose turn it is."""
        del embedding
        log_probs = torch.full((len(pose), self._actions), -math.inf, device=pose.device)
        log_probs[:, self._plan[self._step % len(self._plan)]] = 0.0
        return log_probs

    def act(
        self,
        embedding: Tensor,
        pose: Tensor,
        mode: Mode,
        *,
        random_share: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Make the next move of the sweep; see ``Agent.act``."""
        chosen = super().act(embedding, pose, mode, random_share=random_share, generator=generator)
        self._step += 1
        return chosen


def _moves(span: float, *sizes: float) -> int:
    return max(1, math.ceil(span / min(sizes)))


def _largest(table: ActionTable, axis: str, sign: int) -> int:
    """Return the index of the largest move that changes this axis alone, in this direction."""

    def change(action: Action) -> float:
        alone = all(getattr(action, other) == 0.0 for other in ("pan", "tilt", "zoom") if other != axis)
        return sign * float(getattr(action, axis)) if alone else 0.0

    best = max(range(len(table)), key=lambda index: change(table[index]))
    if change(table[best]) <= 0.0:
        raise UserError(f"the action table has no move that changes {axis} alone both ways; a raster needs one")
    return best
