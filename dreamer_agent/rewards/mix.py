"""Several rewards weighed into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams
from dreamer_agent.rewards.running_scale import RunningScale


class Reward(Protocol):
    """One idea of what is worth seeing."""

    @property
    def name(self) -> str:
        """Its name in metrics, checkpoints and settings."""

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]``: what each dreamed move is worth, on any scale; more is better."""


@runtime_checkable
class Remembering(Protocol):
    """A reward that wants to know where the camera has really looked."""

    def saw(self, pose: Tensor, seconds: float) -> None:
        """Take note of a real view at ``pose [3]``, taken at ``seconds`` since any fixed time."""


@dataclass
class WeightedReward:
    """A reward, its weight in the mix, and the running scale that makes it comparable with the others."""

    reward: Reward
    weight: float = 1.0
    scale: RunningScale = field(default_factory=RunningScale)


class RewardMix:
    """The weighted sum of rewards, each brought to unit deviation first.

    Without that step the weights would mean nothing, and small rewards would vanish: the return normaliser later on
    shrinks large returns but does not raise small ones.
    """

    def __init__(self, parts: Sequence[WeightedReward]) -> None:
        if not parts:
            raise ValueError("a mix needs a reward")
        names = [part.reward.name for part in parts]
        if len(set(names)) != len(names):
            raise ValueError("two rewards share a name")
        self._parts = list(parts)

    @property
    def remembers(self) -> bool:
        """Whether a reward wants to know where the camera has really looked."""
        return any(isinstance(part.reward, Remembering) for part in self._parts)

    def saw(self, pose: Tensor, seconds: float) -> None:
        """Tell the rewards that want to know of a real view at ``pose [3]``, taken at ``seconds``."""
        for part in self._parts:
            if isinstance(part.reward, Remembering):
                part.reward.saw(pose, seconds)

    def combine(self, dreams: Dreams, *, learn: bool = True) -> tuple[Tensor, dict[str, float]]:
        """Return the rewards ``[B, T]`` and named terms: each part's raw mean and its share of the mix's size.

        Scales follow these dreams unless told not to ``learn``, as when plans are weighed rather than dreams.
        """
        total = torch.zeros_like(dreams.rewards)
        terms: dict[str, float] = {}
        sizes: dict[str, float] = {}
        for part in self._parts:
            signal = part.reward.signal(dreams)
            if learn:
                part.scale.update(signal)
            weighed = part.weight * part.scale.normalise(signal)
            total = total + weighed
            terms[f"reward_{part.reward.name}_mean"] = float(signal.mean())
            sizes[part.reward.name] = float(weighed.abs().mean())
        whole = sum(sizes.values()) or 1.0
        terms.update({f"reward_{name}_share": size / whole for name, size in sizes.items()})
        return total, terms

    def state(self) -> dict[str, Tensor]:
        """Return every part's running scale, by the reward's name."""
        return {part.reward.name: part.scale.state() for part in self._parts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` returned; a reward that is new in the mix starts afresh."""
        for part in self._parts:
            if part.reward.name in state:
                part.scale.load_state(state[part.reward.name])
