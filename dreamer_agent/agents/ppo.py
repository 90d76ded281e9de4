"""Proximal policy optimisation, the control that every reader expects, here in dreams.

Schulman et al., "Proximal Policy Optimization Algorithms", 2017; details as in CleanRL.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dreamer_agent.agents import returns
from dreamer_agent.agents.learning import PolicyAgent, explained_variance
from dreamer_agent.agents.networks import LearnerConfig, features
from dreamer_agent.dreams import Dreams


class PPOConfig(LearnerConfig):
    """PPO's settings, with CleanRL's values."""

    mixing: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of the generalised advantage")
    clip: float = Field(default=0.2, gt=0.0, description="how far a probability may move from the dreamer's: ratio − 1")
    entropy: float = Field(default=0.01, ge=0.0)
    critic_rate: float = Field(default=1e-3, gt=0.0)
    critic_share: float = Field(default=0.5, gt=0.0, description="weight of the critic's squared error")
    passes: int = Field(default=4, ge=1, le=100, description="over the dreams of one update")
    parts: int = Field(default=4, ge=1, le=100, description="minibatches that the dreams are cut into")


class PPO(PolicyAgent[PPOConfig]):
    """Generalised advantages, normalised a minibatch; clipped ratios; several passes over the same dreams."""

    algorithm: ClassVar[str] = "ppo"

    def _build(self) -> dict[nn.Module, float]:
        self._policy, self._critic = self._network(self.config.actions), self._network(1)
        return {self._policy: self.config.policy_rate, self._critic: self.config.critic_rate}

    def _networks(self) -> dict[str, nn.Module]:
        return {"policy": self._policy, "critic": self._critic}

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Pass over the dreams several times; returns the last minibatch's losses. See ``Agent.update``."""
        config = self.config
        rewards, terms = self.rewards.combine(dreams)
        with torch.no_grad():
            values = self._critic(features(dreams.embeddings.float(), dreams.poses)).squeeze(-1)
        gains = returns.advantages(rewards, values, discount=config.discount, mixing=config.mixing)
        targets = gains + values[:, :-1]
        skipped, made = 0, 0
        # Drawn by the count of updates, so that a checkpoint goes on exactly where it was left.
        generator = torch.Generator().manual_seed(self.updates)
        for _ in range(config.passes):
            order = torch.randperm(len(dreams), generator=generator)
            for part in order.chunk(config.parts):
                done, terms_now = self._part(dreams.pick(part), gains[part], targets[part])
                terms |= terms_now
                skipped, made = skipped + (not done), made + done
        self.updates += 1 if made else 0
        return {
            **terms,
            "return_mean": float(targets.mean()),
            "explained_variance": explained_variance(targets, values[:, :-1]),
            "skipped": float(not made),
            "parts_skipped": float(skipped),
        }

    def _part(self, dreams: Dreams, gains: Tensor, targets: Tensor) -> tuple[bool, dict[str, float]]:
        normal = (gains - gains.mean()) / (gains.std() + 1e-8) if gains.numel() > 1 else gains
        config, looked_at = self.config, self._looked_at(dreams)[:, :-1]
        loss, log_ratio, terms = self._policy_loss(looked_at, dreams, normal, clip=config.clip, entropy=config.entropy)
        seen = features(dreams.embeddings.float(), dreams.poses)[:, :-1]
        critic_loss = 0.5 * (self._critic(seen).squeeze(-1) - targets).square().mean()
        done = self._step(loss + config.critic_share * critic_loss)
        terms["critic_loss"] = float(critic_loss.detach())
        terms["divergence"] = float((log_ratio.exp() - 1.0 - log_ratio).mean().detach())
        return done, terms
