"""The interface of every agent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.networks import AgentConfig
from dreamer_agent.dreams import Dreams
from dreamer_agent.imagination import Imagination
from dreamer_agent.rewards import RewardMix


class Mode(StrEnum):
    """How to turn probabilities into a choice."""

    GREEDY = "greedy"
    SAMPLE = "sample"


class Agent(ABC):
    """Chooses moves, and may learn from dreams. ``B`` is the batch, ``D`` the embedding's size, ``A`` the actions.

    An agent that steers is asked for ``log_probabilities`` and told what came of them by ``moved``; ``act`` is both.
    """

    algorithm: ClassVar[str]
    dreams_at_random: bool = False
    """Whether it wants to learn from dreams whose moves are made by chance, all of them."""
    meant: Tensor | None = None
    """``[B, 3]``: the very change of pose that the last answer meant, where that need not be a move of the table."""

    @abstractmethod
    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: the logarithm of each action's probability at ``embedding [B, D]`` and ``pose [B, 3]``.

        To ask twice changes nothing.
        """

    def moved(self, actions: Tensor) -> None:  # noqa: B027 - most agents need not know
        """Take note of the actions ``[B]`` that were made of the last answer."""

    def consult(self, world_model: Imagination, limits: Tensor, surprise: str) -> None:  # noqa: B027 - as above
        """Take the world model, the camera's ``limits [1, 5]`` and what surprise is, to think with before moving."""

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
        """Choose actions: indices ``[B]`` int64 and the logarithm ``[B]`` of the probability of having chosen them."""
        log_probs = self.log_probabilities(embedding, pose)
        chosen = choose(log_probs, mode, random_share=random_share, generator=generator)
        self.moved(chosen[0])
        return chosen


class LearnedAgent(Agent):
    """An agent that a learner improves and a checkpoint holds."""

    needs_world_model: ClassVar[bool] = False
    """Whether it cannot choose before it was told what to ``consult``."""
    config: AgentConfig
    rewards: RewardMix
    updates: int
    """Updates so far, over all restarts."""

    def finite(self) -> bool:
        """Whether every number that a checkpoint would hold is finite."""
        return all(bool(torch.isfinite(value).all()) for value in self.state().values())


def choose(
    log_probs: Tensor, mode: Mode, *, random_share: float = 0.0, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Choose of ``log_probs [B, A]``: indices ``[B]`` and the logarithm ``[B]`` of the probability of the choice.

    With ``random_share`` that part of the sampled moves is drawn evenly from the whole table, and the probability
    returned is the mixture's. A greedy choice is certain, so its logarithm is zero.
    """
    if mode is Mode.GREEDY:
        return log_probs.argmax(dim=-1), torch.zeros(len(log_probs), device=log_probs.device)
    if random_share > 0.0:
        even = torch.full_like(log_probs, math.log(random_share / log_probs.shape[-1]))
        kept = log_probs + math.log1p(-random_share) if random_share < 1.0 else torch.full_like(even, -math.inf)
        log_probs = torch.logaddexp(kept, even)
    chosen = torch.multinomial(log_probs.exp(), 1, generator=generator)
    return chosen.squeeze(-1), log_probs.gather(-1, chosen).squeeze(-1)


def views_to_stay(dwell: float, chance: float) -> int:
    """Return how many more views to take of a place: ``dwell`` − 1 on average over ``chance`` in [0, 1)."""
    return math.floor(dwell - 1.0 + chance)


def certainty(log_probs: Tensor) -> Tensor:
    """Return ``[B]``: one minus the entropy's share of the most possible; 1 for a choice without alternative."""
    if log_probs.shape[-1] < 2:
        return torch.ones(len(log_probs))
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(dim=-1)
    return (1.0 - entropy / math.log(log_probs.shape[-1])).clamp(0.0, 1.0)
