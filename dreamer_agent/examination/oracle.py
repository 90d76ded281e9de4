"""The agent that knows the zones: what attraction is at best."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent
from dreamer_agent.examination.zones import Zone, ZoneLayout
from dreamer_agent.reach import reach, wrap_pan

TURN = 64
"""Frames that it stays with one zone where it knows of two."""


class OracleAgent(Agent):
    """Goes to what is hard to learn, and wanders there; to hard and new zones in turn once the new one is there."""

    algorithm: ClassVar[str] = "oracle"

    def __init__(self, layout: ZoneLayout, onset: int, deltas: Tensor, limits: Tensor) -> None:
        self._layout, self._onset, self._deltas, self._limits = layout, onset, deltas, limits
        self.frame = 0
        """The time, as an examination counts it: it must be told."""

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: the moves that stay inside alike, or from outside those that lead nearest to it."""
        del embedding
        goals = [Zone.HARD] if self.frame < self._onset else [Zone.HARD, Zone.NEW]
        goal = goals[self.frame // TURN % len(goals)]
        pan = reach(pose.unsqueeze(1), self._deltas, self._limits.unsqueeze(-2))[..., 0]
        half = self._layout.width / 2.0
        away = (wrap_pan(pan - self._layout.middle(goal)).abs() - half).clamp_min(0.0)
        best = away <= away.amin(dim=1, keepdim=True) + 1e-3
        return torch.log(best / best.sum(dim=1, keepdim=True))
