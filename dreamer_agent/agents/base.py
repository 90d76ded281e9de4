"""The interface of every agent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams


class Mode(StrEnum):
    """How to turn probabilities into a choice."""

    GREEDY = "greedy"
    SAMPLE = "sample"


class Agent(ABC):
    """Chooses moves, and may learn from dreams. ``B`` is the batch, ``D`` the embedding's size, ``A`` the actions."""

    algorithm: ClassVar[str]

    @abstractmethod
    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: the logarithm of each action's probability at ``embedding [B, D]`` and ``pose [B, 3]``."""

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Learn from a batch of dreams; returns named terms. An agent that does not learn returns none."""
        del dreams
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold for ``load_state`` to go on from here."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint. ``ValueError`` with the reason if it does not fit this agent."""
        if state:
            raise ValueError(f"the agent {self.algorithm!r} keeps no state")

    @torch.no_grad()
    def act(
        self,
        embedding: Tensor,
        pose: Tensor,
        mode: Mode,
        *,
        random_share: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose actions: indices ``[B]`` int64 and the logarithm ``[B]`` of the probability of having chosen them.

        With ``random_share`` that part of the sampled moves is drawn evenly from the whole table, and the probability
        returned is the mixture's. A greedy choice is certain, so its logarithm is zero.
        """
        log_probs = self.log_probabilities(embedding, pose)
        if mode is Mode.GREEDY:
            return log_probs.argmax(dim=-1), torch.zeros(len(log_probs), device=log_probs.device)
        if random_share > 0.0:
            even = torch.full_like(log_probs, math.log(random_share / log_probs.shape[-1]))
            kept = log_probs + math.log1p(-random_share) if random_share < 1.0 else torch.full_like(even, -math.inf)
            log_probs = torch.logaddexp(kept, even)
        chosen = torch.multinomial(log_probs.exp(), 1, generator=generator)
        return chosen.squeeze(-1), log_probs.gather(-1, chosen).squeeze(-1)
