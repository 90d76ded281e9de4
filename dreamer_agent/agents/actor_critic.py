"""The default agent: an actor-critic that learns in dreams alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dreamer_agent.agents.learning import PolicyAgent, explained_variance
from dreamer_agent.agents.networks import LearnerConfig, features
from dreamer_agent.agents.returns import ReturnScale, TwoHot, lambda_returns
from dreamer_agent.dreams import Dreams


class ActorCriticConfig(LearnerConfig):
    """What defines the agent's networks and its learning; it travels in the checkpoint."""

    mixing: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of the λ-returns")
    clip: float = Field(default=0.2, gt=0.0, description="how far a probability may move from the dreamer's: ratio − 1")
    entropy: float = Field(default=0.01, ge=0.0, description="weight of entropy beside the normalised advantage")
    critic_rate: float = Field(default=1e-3, gt=0.0)
    slow_rate: float = Field(default=0.02, gt=0.0, le=1.0, description="of the slow critic's way towards the critic")
    scale_rate: float = Field(default=0.01, gt=0.0, le=1.0, description="of the return scale's way towards a batch's")
    bins: int = Field(default=63, ge=3, le=1023)
    bin_limit: float = Field(default=6.0, gt=0.0, le=20.0, description="symlog of the largest return")


class ActorCritic(PolicyAgent[ActorCriticConfig]):
    """After Hafner et al., DreamerV3, for discrete moves in dreams of a JEPA.

    λ-returns of normalised rewards; a two-hot critic, held near its own slow copy; REINFORCE on advantages divided
    by the running range of returns, with the importance ratio clipped as in PPO, because a dream's policy is always
    somewhat older than this one; an entropy bonus.
    """

    algorithm: ClassVar[str] = "actor_critic"

    def _build(self) -> dict[nn.Module, float]:
        config = self.config
        self._two_hot = TwoHot(config.bins, config.bin_limit)
        self._policy, self._critic = self._network(config.actions), self._network(config.bins)
        self._slow_critic = copy.deepcopy(self._critic).requires_grad_(False)
        self._return_scale = ReturnScale(config.scale_rate)
        return {self._policy: config.policy_rate, self._critic: config.critic_rate}

    def _networks(self) -> dict[str, nn.Module]:
        return {"policy": self._policy, "critic": self._critic, "slow_critic": self._slow_critic}

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Improve policy and critic once; returns the losses and what operators watch.

        A step whose loss or gradient is not finite is not made: ``skipped`` is then 1 and nothing has changed.
        """
        config = self.config
        rewards, terms = self.rewards.combine(dreams)
        seen = features(dreams.embeddings.float(), dreams.poses)
        logits = self._critic(seen)
        values = self._two_hot.mean(logits.detach())
        returns = lambda_returns(rewards, values, discount=config.discount, mixing=config.mixing)
        scale = self._return_scale.update(returns)
        advantages = (returns - values[:, :-1]) / scale
        policy_loss, _, policy_terms = self._policy_loss(
            self._looked_at(dreams)[:, :-1], dreams, advantages, clip=config.clip, entropy=config.entropy
        )
        critic_loss = self._critic_loss(seen[:, :-1], logits[:, :-1], returns)
        skipped = not self._step(policy_loss + critic_loss)
        if not skipped:
            self.updates += 1
            self._follow()
        return {
            **terms,
            **policy_terms,
            "critic_loss": float(critic_loss.detach()),
            "return_mean": float(returns.mean()),
            "return_scale": scale,
            "explained_variance": explained_variance(returns, values[:, :-1]),
            "skipped": float(skipped),
        }

    def _scales(self) -> dict[str, Tensor]:
        return {"return_scale": self._return_scale.state()}

    def _load_scales(self, state: Mapping[str, Tensor]) -> None:
        self._return_scale.load_state(state["return_scale"])

    def _critic_loss(self, seen: Tensor, logits: Tensor, returns: Tensor) -> Tensor:
        with torch.no_grad():
            slow = self._two_hot.mean(self._slow_critic(seen))
            targets = self._two_hot.encode(returns) + self._two_hot.encode(slow)
        # One cross-entropy against the sum is the sum of two: towards the return, and towards the slow copy.
        return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in zip(self._slow_critic.parameters(), self._critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.slow_rate)
