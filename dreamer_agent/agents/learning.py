"""What the agents that learn in dreams share: networks, one optimiser, rewards, and a state that goes on exactly."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from dreamer_agent.agents.base import LearnedAgent
from dreamer_agent.agents.networks import LearnerConfig, features, network
from dreamer_agent.dreams import Dreams
from dreamer_agent.rewards import RewardMix, SurpriseReward, WeightedReward

C = TypeVar("C", bound=LearnerConfig)


class LearningAgent(LearnedAgent, Generic[C]):
    """Networks that see the embedding (layer-normed) and Fourier features of the pose.

    Heads start at zero: an untrained agent moves evenly at random. A step whose loss or gradient is not finite is not
    made.
    """

    config: C

    def __init__(self, config: C, seed: int = 0, rewards: RewardMix | None = None) -> None:
        self.config = config
        self.rewards = rewards or RewardMix([WeightedReward(SurpriseReward())])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rates = self._build()
        self._optimizer = self._make_optimizer(
            [{"params": list(net.parameters()), "lr": rate} for net, rate in rates.items()]
        )
        self._learners = list(rates)
        self.updates = 0

    @abstractmethod
    def _build(self) -> dict[nn.Module, float]:
        """Make the networks; returns those that learn with their learning rates."""

    @abstractmethod
    def _networks(self) -> dict[str, nn.Module]:
        """Return all networks by the name that they have in a checkpoint."""

    def _make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups)

    def _network(self, outputs: int) -> nn.Sequential:
        return network(self.config, outputs)

    def state(self) -> dict[str, Tensor]:
        """Return networks, optimiser, running scales and the count of updates, all copied."""
        tensors: dict[str, Tensor] = {}
        for prefix, net in self._networks().items():
            tensors.update({f"{prefix}.{name}": value for name, value in net.state_dict().items()})
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{name}": value for name, value in moments.items()})
        tensors.update({f"reward.{name}": value for name, value in self.rewards.state().items()})
        tensors.update(self._scales())
        tensors["updates"] = torch.tensor([self.updates])
        return {name: value.detach().clone() for name, value in tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint. ``ValueError`` with the reason, before anything has changed, if it does not fit."""
        broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise ValueError(f"weights are not finite: {broken[0]}")
        for prefix, net in self._networks().items():
            _check_fit(prefix, net.state_dict(), under(state, prefix))
        missing = {*self._scales(), "updates"} - state.keys()
        if missing:
            raise ValueError(f"tensors are missing: {sorted(missing)}")
        for prefix, net in self._networks().items():
            net.load_state_dict(under(state, prefix))
        self._load_optimizer(under(state, "optimizer"))
        self.rewards.load_state(under(state, "reward"))
        self._load_scales(state)
        self.updates = int(state["updates"].item())

    def _looked_at(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T + 1, F]``: what steers learns from, all views' features; ``pose_hidden`` of them tell no pose.

        Drawn by the count of updates, so that a checkpoint goes on exactly where it was left.
        """
        generator = torch.Generator().manual_seed(self.updates)
        hidden = torch.rand((len(dreams), 1, 1), generator=generator) < self.config.pose_hidden
        return features(dreams.embeddings.float(), dreams.poses, hidden.to(dreams.poses.device))

    def _scales(self) -> dict[str, Tensor]:
        """Return what else a checkpoint must hold, by name."""
        return {}

    def _load_scales(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``_scales`` returned."""

    def _step(self, loss: Tensor) -> bool:
        """Make one step of the optimiser; False where loss or gradient is not finite, and nothing has changed."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self.config.gradient_norm
        norms = [nn.utils.clip_grad_norm_(net.parameters(), limit) for net in self._learners]
        if not all(bool(torch.isfinite(norm)) for norm in norms):
            self._optimizer.zero_grad(set_to_none=True)
            return False
        self._optimizer.step()
        return True

    def _load_optimizer(self, flat: Mapping[str, Tensor]) -> None:
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in flat.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})


class PolicyAgent(LearningAgent[C]):
    """An agent whose policy is a network of its own, improved by importance ratios held near one, as PPO does."""

    _policy: nn.Sequential

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: the policy's log-probabilities, a little of it always spread over all actions."""
        return self._log_probabilities(features(embedding, pose))

    def _log_probabilities(self, seen: Tensor) -> Tensor:
        return mixed_with_chance(self._policy(seen).log_softmax(dim=-1), self.config.unimix)

    def _policy_loss(
        self, seen: Tensor, dreams: Dreams, advantages: Tensor, *, clip: float, entropy: float
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Return the loss of ``advantages [B, T]`` at ``seen [B, T, F]``, the ratios' logarithms ``[B, T]``, terms."""
        log_probs = self._log_probabilities(seen)
        chosen = log_probs.gather(-1, dreams.actions.unsqueeze(-1)).squeeze(-1)
        log_ratio = chosen - dreams.log_probs
        ratio = torch.exp(log_ratio)
        kept = ratio.clamp(1.0 - clip, 1.0 + clip)
        gain = torch.minimum(ratio * advantages, kept * advantages)
        disorder = -(log_probs.exp() * log_probs).sum(dim=-1)
        loss = -gain.mean() - entropy * disorder.mean()
        return (
            loss,
            log_ratio,
            {
                "policy_loss": float(loss.detach()),
                "entropy_share": float(disorder.detach().mean()) / math.log(self.config.actions),
                "clipped_share": float((ratio != kept).float().mean()),
                "advantage_deviation": float(advantages.std()),
            },
        )


def mixed_with_chance(log_probs: Tensor, share: float) -> Tensor:
    """Return the logarithms of ``(1 − share)·p + share / A``."""
    if share == 0.0:
        return log_probs
    even = torch.full_like(log_probs, math.log(share / log_probs.shape[-1]))
    return torch.logaddexp(log_probs + math.log1p(-share), even)


def explained_variance(returns: Tensor, values: Tensor) -> float:
    """Return the share of the variance of ``returns`` that ``values`` account for; 1 at best."""
    return float(1.0 - (returns - values).var() / returns.var().clamp_min(1e-8))


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors below ``prefix``, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _check_fit(prefix: str, own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    if own.keys() != other.keys():
        raise ValueError(f"{prefix}: tensors are missing or unknown: {sorted(own.keys() ^ other.keys())[:3]}")
    for name, value in own.items():
        if value.shape != other[name].shape:
            raise ValueError(f"{prefix}.{name}: shape {tuple(other[name].shape)}, not {tuple(value.shape)}")
