"""Chance that holds on: it covers ground, where a random walk of single moves stays about where it is."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent


class StickyAgent(Agent):
    """Makes the last move again with probability ``hold``, else any move of the table, each as likely as the other."""

    algorithm: ClassVar[str] = "sticky"

    def __init__(self, actions: int, hold: float = 0.8) -> None:
        if not 0.0 <= hold < 1.0:
            raise ValueError("hold is a probability below one")
        self._actions, self._hold = actions, hold
        self._last: Tensor | None = None

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``; all the same at the first move."""
        del embedding
        if self._last is None or len(self._last) != len(pose):
            return torch.full((len(pose), self._actions), -math.log(self._actions), device=pose.device)
        probabilities = torch.full((len(pose), self._actions), (1.0 - self._hold) / self._actions, device=pose.device)
        probabilities[torch.arange(len(pose)), self._last] += self._hold
        return probabilities.log()

    def moved(self, actions: Tensor) -> None:
        """See ``Agent.moved``."""
        self._last = actions.clone()
