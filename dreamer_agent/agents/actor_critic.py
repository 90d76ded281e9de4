"""The default agent: an actor-critic that learns in dreams alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from dreamer_agent.agents.base import Agent
from dreamer_agent.agents.returns import ReturnScale, TwoHot, lambda_returns
from dreamer_agent.dreams import Dreams
from dreamer_agent.rewards import RewardMix, SurpriseReward, WeightedReward
from shared.world_model import pose_features

_HARMONICS = (4, 2, 1)
"""Of pan, tilt and log zoom: enough to tell directions apart, too few to memorise single poses."""
_POSE_FEATURES = 2 * sum(_HARMONICS)


class ActorCriticConfig(BaseModel):
    """What defines the agent's networks and its learning; it travels in the checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: int = Field(ge=1, le=65536)
    actions: int = Field(ge=2, le=65536)
    hidden_size: int = Field(default=128, ge=1, le=8192)
    layers: int = Field(default=2, ge=1, le=16)
    discount: float = Field(default=0.97, gt=0.0, lt=1.0)
    mixing: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of the λ-returns")
    clip: float = Field(default=0.2, gt=0.0, description="how far a probability may move from the dreamer's: ratio − 1")
    entropy: float = Field(default=0.01, ge=0.0, description="weight of entropy beside the normalised advantage")
    unimix: float = Field(default=0.01, ge=0.0, lt=1.0, description="share of probability spread over all actions")
    policy_rate: float = Field(default=1e-3, gt=0.0)
    critic_rate: float = Field(default=1e-3, gt=0.0)
    slow_rate: float = Field(default=0.02, gt=0.0, le=1.0, description="of the slow critic's way towards the critic")
    scale_rate: float = Field(default=0.01, gt=0.0, le=1.0, description="of the return scale's way towards a batch's")
    gradient_norm: float = Field(default=1.0, gt=0.0)
    bins: int = Field(default=63, ge=3, le=1023)
    bin_limit: float = Field(default=6.0, gt=0.0, le=20.0, description="symlog of the largest return")


class ActorCritic(Agent):
    """Policy and critic see the embedding (layer-normed) and Fourier features of the pose.

    λ-returns of normalised surprise; a two-hot critic, held near its own slow copy; REINFORCE on advantages divided
    by the running range of returns, with the importance ratio clipped as in PPO, because a dream's policy is always
    somewhat older than this one; an entropy bonus. Heads start at zero: an untrained agent moves evenly at random.
    """

    algorithm: ClassVar[str] = "dreamer_ac"

    def __init__(self, config: ActorCriticConfig, seed: int = 0, rewards: RewardMix | None = None) -> None:
        self.config = config
        generator_state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        self._two_hot = TwoHot(config.bins, config.bin_limit)
        self._policy = _network(config, config.actions)
        self._critic = _network(config, config.bins)
        torch.random.set_rng_state(generator_state)
        self._slow_critic = copy.deepcopy(self._critic).requires_grad_(False)
        self._optimizer = torch.optim.Adam(
            [
                {"params": list(self._policy.parameters()), "lr": config.policy_rate},
                {"params": list(self._critic.parameters()), "lr": config.critic_rate},
            ]
        )
        self._rewards = rewards or RewardMix([WeightedReward(SurpriseReward())])
        self._return_scale = ReturnScale(config.scale_rate)
        self.updates = 0
        """Updates so far, over all restarts."""

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: the policy's log-probabilities, a little of it always spread over all actions."""
        return self._log_probabilities(_features(embedding, pose))

    def update(self, dreams: Dreams) -> dict[str, float]:
        """Improve policy and critic once; returns the losses and what operators watch.

        A step whose loss or gradient is not finite is not made: ``skipped`` is then 1 and nothing has changed.
        """
        rewards, terms = self._rewards.combine(dreams)
        features = _features(dreams.embeddings.float(), dreams.poses)
        values_logits = self._critic(features)
        values = self._two_hot.mean(values_logits.detach())
        returns = lambda_returns(rewards, values, discount=self.config.discount, mixing=self.config.mixing)
        scale = self._return_scale.update(returns)
        advantages = (returns - values[:, :-1]) / scale
        policy_loss, policy_terms = self._policy_loss(features[:, :-1], dreams, advantages)
        critic_loss = self._critic_loss(features[:, :-1], values_logits[:, :-1], returns)
        skipped = not self._step(policy_loss + critic_loss)
        self.updates += 0 if skipped else 1
        unexplained = (returns - values[:, :-1]).var() / returns.var().clamp_min(1e-8)
        return {
            **terms,
            **policy_terms,
            "policy_loss": float(policy_loss.detach()),
            "critic_loss": float(critic_loss.detach()),
            "return_mean": float(returns.mean()),
            "return_scale": scale,
            "explained_variance": float(1.0 - unexplained),
            "skipped": float(skipped),
        }

    def state(self) -> dict[str, Tensor]:
        """Return networks, optimiser, running scales and the count of updates, all copied."""
        tensors: dict[str, Tensor] = {}
        for prefix, network in self._networks().items():
            tensors.update({f"{prefix}.{name}": value for name, value in network.state_dict().items()})
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{name}": value for name, value in moments.items()})
        tensors.update({f"reward.{name}": value for name, value in self._rewards.state().items()})
        tensors["return_scale"] = self._return_scale.state()
        tensors["updates"] = torch.tensor([self.updates])
        return {name: value.detach().clone() for name, value in tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint. ``ValueError`` with the reason, before anything has changed, if it does not fit."""
        broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise ValueError(f"weights are not finite: {broken[0]}")
        for prefix, network in self._networks().items():
            _check_fit(prefix, network.state_dict(), _under(state, prefix))
        missing = {"return_scale", "updates"} - state.keys()
        if missing:
            raise ValueError(f"tensors are missing: {sorted(missing)}")
        for prefix, network in self._networks().items():
            network.load_state_dict(_under(state, prefix))
        self._load_optimizer(_under(state, "optimizer"))
        self._rewards.load_state(_under(state, "reward"))
        self._return_scale.load_state(state["return_scale"])
        self.updates = int(state["updates"].item())

    def finite(self) -> bool:
        """Whether every number that a checkpoint would hold is finite."""
        return all(bool(torch.isfinite(value).all()) for value in self.state().values())

    def _networks(self) -> dict[str, nn.Module]:
        return {"policy": self._policy, "critic": self._critic, "slow_critic": self._slow_critic}

    def _log_probabilities(self, features: Tensor) -> Tensor:
        log_probs: Tensor = self._policy(features).log_softmax(dim=-1)
        if self.config.unimix == 0.0:
            return log_probs
        even = torch.full_like(log_probs, math.log(self.config.unimix / self.config.actions))
        return torch.logaddexp(log_probs + math.log1p(-self.config.unimix), even)

    def _policy_loss(self, features: Tensor, dreams: Dreams, advantages: Tensor) -> tuple[Tensor, dict[str, float]]:
        log_probs = self._log_probabilities(features)
        chosen = log_probs.gather(-1, dreams.actions.unsqueeze(-1)).squeeze(-1)
        ratio = torch.exp(chosen - dreams.log_probs)
        kept = ratio.clamp(1.0 - self.config.clip, 1.0 + self.config.clip)
        gain = torch.minimum(ratio * advantages, kept * advantages)
        entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
        loss = -gain.mean() - self.config.entropy * entropy.mean()
        return loss, {
            "entropy_share": float(entropy.detach().mean()) / math.log(self.config.actions),
            "clipped_share": float((ratio != kept).float().mean()),
            "advantage_deviation": float(advantages.std()),
        }

    def _critic_loss(self, features: Tensor, logits: Tensor, returns: Tensor) -> Tensor:
        with torch.no_grad():
            slow = self._two_hot.mean(self._slow_critic(features))
            targets = self._two_hot.encode(returns) + self._two_hot.encode(slow)
        # One cross-entropy against the sum is the sum of two: towards the return, and towards the slow copy.
        return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    def _step(self, loss: Tensor) -> bool:
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norms = [
            nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_norm)
            for network in (self._policy, self._critic)
        ]
        if not all(bool(torch.isfinite(norm)) for norm in norms):
            self._optimizer.zero_grad(set_to_none=True)
            return False
        self._optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self._slow_critic.parameters(), self._critic.parameters(), strict=True):
                slow.lerp_(fast, self.config.slow_rate)
        return True

    def _load_optimizer(self, flat: Mapping[str, Tensor]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in flat.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _features(embedding: Tensor, pose: Tensor) -> Tensor:
    normed = F.layer_norm(embedding, embedding.shape[-1:])
    return torch.cat([normed, pose_features(pose, *_HARMONICS)], dim=-1)


def _network(config: ActorCriticConfig, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = config.embedding_size + _POSE_FEATURES
    for _ in range(config.layers):
        layers += [nn.Linear(width, config.hidden_size), nn.LayerNorm(config.hidden_size), nn.SiLU()]
        width = config.hidden_size
    head = nn.Linear(width, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, head)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _check_fit(prefix: str, own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    if own.keys() != other.keys():
        raise ValueError(f"{prefix}: tensors are missing or unknown: {sorted(own.keys() ^ other.keys())[:3]}")
    for name, value in own.items():
        if value.shape != other[name].shape:
            raise ValueError(f"{prefix}.{name}: shape {tuple(other[name].shape)}, not {tuple(value.shape)}")
