"""The baseline that every agent must beat."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent


class RandomAgent(Agent):
    """Draws every move of the table with equal probability."""

    algorithm: ClassVar[str] = "random"

    def __init__(self, actions: int) -> None:
        self._actions = actions

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``, all the same."""
        del embedding
        return torch.full((len(pose), self._actions), -math.log(self._actions), device=pose.device)
