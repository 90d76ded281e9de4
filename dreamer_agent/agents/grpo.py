"""Group-relative policy optimisation: no critic; a dream is good if it beats others from the very same start.

Shao et al., "DeepSeekMath", 2024. Dreams can begin at one view as often as wanted, which is all that it needs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from dreamer_agent.agents.learning import PolicyAgent
from dreamer_agent.agents.networks import LearnerConfig
from dreamer_agent.dreams import Dreams


class GRPOConfig(LearnerConfig):
    """Clip, and how hard the policy is held to the one that dreamt."""

    clip: float = Field(default=0.2, gt=0.0, description="how far a probability may move from the dreamer's: ratio − 1")
    entropy: float = Field(default=0.01, ge=0.0)
    divergence: float = Field(default=0.04, ge=0.0, description="weight of the divergence from the dreamer's policy")


class GRPO(PolicyAgent[GRPOConfig]):
    """Advantage: a dream's discounted return, less the mean of its group, in the group's standard deviations.

    A group is the dreams that began at the same view. A dream that is alone with its start teaches nothing: then the
    update is skipped (``grouped_share`` 0) rather than compared with dreams from elsewhere.
    """

    algorithm: ClassVar[str] = "grpo"

    def _build(self) -> dict[nn.Module, float]:
        self._policy = self._network(self.config.actions)
        return {self._policy: self.config.policy_rate}

    def _networks(self) -> dict[str, nn.Module]:
        return {"policy": self._policy}

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Improve the policy once. See ``Agent.update``."""
        config = self.config
        rewards, terms = self.rewards.combine(dreams)
        powers = config.discount ** torch.arange(dreams.length, dtype=rewards.dtype)
        gained = (rewards * powers).sum(dim=1)
        gains, grouped = group_advantages(gained, dreams.starts)
        terms |= {"return_mean": float(gained.mean()), "grouped_share": float(grouped.float().mean())}
        if not bool(grouped.any()):
            return {**terms, "skipped": 1.0}
        seen = self._looked_at(dreams)[:, :-1]
        loss, log_ratio, policy_terms = self._policy_loss(
            seen, dreams, gains.unsqueeze(1).expand_as(rewards), clip=config.clip, entropy=config.entropy
        )
        # An estimate that is never negative: exp(−x) − 1 + x with x the logarithm of the new over the old probability.
        divergence = (torch.exp(-log_ratio) - 1.0 + log_ratio).mean()
        skipped = not self._step(loss + config.divergence * divergence)
        self.updates += 0 if skipped else 1
        return {**terms, **policy_terms, "divergence": float(divergence.detach()), "skipped": float(skipped)}


def group_advantages(gained: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``[B]``: ``gained [B]`` normalised within the group of the same number in ``groups [B]``.

    And which of them have a group: a return that is alone, or like all others of its group, has the advantage zero.
    """
    _, place, count = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(count), dtype=gained.dtype)
    mean = sums.index_add(0, place, gained) / count
    apart = gained - mean[place]
    deviation = (sums.index_add(0, place, apart.square()) / count).sqrt()
    return apart / (deviation[place] + 1e-6), count[place] > 1
