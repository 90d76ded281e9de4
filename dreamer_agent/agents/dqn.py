"""Q-learning in dreams: PTZJEPA's as it is (``upstream``), and with its known faults mended (``fixed``).

Mnih et al., "Human-level control through deep reinforcement learning", 2015; van Hasselt et al., "Deep Reinforcement
Learning with Double Q-learning", 2016.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dreamer_agent.agents.learning import LearningAgent, mixed_with_chance
from dreamer_agent.agents.networks import LearnerConfig, features
from dreamer_agent.agents.returns import n_step_targets
from dreamer_agent.dreams import Dreams

_UPSTREAM: dict[str, Any] = {
    "discount": 0.99,
    "unimix": 0.0,
    "pose_hidden": 0.0,
    "policy_rate": 1e-4,
    "weight_decay": 0.04,
    "target_rates": (5e-4, 5e-5),
    "temperature": 1.0,
    "steps": 1,
}


class DQNConfig(LearnerConfig):
    """The ``fixed`` variant's settings; ``of`` gives either's."""

    variant: Literal["upstream", "fixed"] = "fixed"
    policy_rate: float = Field(default=5e-4, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    steps: int = Field(default=3, ge=1, le=64, description="rewards before the value that follows")
    target_rates: tuple[float, float] = Field(
        default=(0.01, 0.01), description="of the target network's way: at the first update and from the last on"
    )
    target_updates: int = Field(default=8000, ge=1, description="updates until the last of these rates")
    temperature: float = Field(default=0.2, gt=0.0, description="values so far apart differ by a factor of e in choice")

    @classmethod
    def of(cls, variant: str, **changes: Any) -> DQNConfig:
        """Return the settings of ``upstream`` or ``fixed`` with some fields changed."""
        return cls.model_validate({**(_UPSTREAM if variant == "upstream" else {}), "variant": variant, **changes})


class DQN(LearningAgent[DQNConfig]):
    """Values of all moves, learnt by Huber's loss against a target network that follows slowly.

    ``upstream``, as PTZJEPA has it: dreams of random moves; the reward is the sign of its change from move to move, +1
    for the first; the target network's own maximum as the value that follows; the target network steers, and follows so
    slowly that much of its beginning is left. ``fixed``: the reward itself, three steps of it, the value of the move
    that the learning network finds best (double), dreams under its own choices, and the learning network steers.
    """

    algorithm: ClassVar[str] = "dqn"

    def _build(self) -> dict[nn.Module, float]:
        self._values = self._network(self.config.actions)
        self._target = copy.deepcopy(self._values).requires_grad_(False)
        self.dreams_at_random = self.config.variant == "upstream"
        return {self._values: self.config.policy_rate}

    def _networks(self) -> dict[str, nn.Module]:
        return {"values": self._values, "target": self._target}

    def _make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)

    def values(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: what the network that steers expects of every move."""
        steering = self._target if self.config.variant == "upstream" else self._values
        found: Tensor = steering(features(embedding, pose))
        return found

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: Boltzmann's distribution over the values, a little of it spread over all actions."""
        log_probs = (self.values(embedding, pose) / self.config.temperature).log_softmax(dim=-1)
        return mixed_with_chance(log_probs, self.config.unimix)

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Improve the values once. See ``Agent.update``."""
        config = self.config
        rewards, terms = self.rewards.combine(dreams)
        if config.variant == "upstream":
            rewards = signs_of_change(rewards)
        seen = self._looked_at(dreams)
        values = self._values(seen)
        with torch.no_grad():
            following: Tensor = self._target(seen)
            best = (values if config.variant == "fixed" else following).argmax(dim=-1, keepdim=True)
            ahead = following.gather(-1, best).squeeze(-1)
            targets = n_step_targets(rewards, ahead, discount=config.discount, steps=config.steps)
        chosen = values[:, :-1].gather(-1, dreams.actions.unsqueeze(-1)).squeeze(-1)
        loss = F.smooth_l1_loss(chosen, targets)
        skipped = not self._step(loss)
        if not skipped:
            self._follow()
            self.updates += 1
        return {
            **terms,
            "value_loss": float(loss.detach()),
            "return_mean": float(targets.mean()),
            "value_spread": float(values.detach().std(dim=-1).mean()),
            "skipped": float(skipped),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        first, last = self.config.target_rates
        rate = first + (last - first) * min(1.0, self.updates / self.config.target_updates)
        for slow, fast in zip(self._target.parameters(), self._values.parameters(), strict=True):
            slow.lerp_(fast, rate)


def signs_of_change(rewards: Tensor) -> Tensor:
    """Return ``[B, T]``: +1 where ``rewards [B, T]`` rose, −1 where they did not; the first move counts as a rise."""
    rose = torch.ones_like(rewards, dtype=torch.bool)
    rose[:, 1:] = rewards[:, 1:] > rewards[:, :-1]
    return torch.where(rose, 1.0, -1.0)
