"""Rewards by name, as settings choose them: ``make_rewards({"disagreement": 1.0, "staleness": 0.5})``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from dreamer_agent.rewards.extrinsic import ExtrinsicReward, Scorer
from dreamer_agent.rewards.mix import Reward, RewardMix, WeightedReward
from dreamer_agent.rewards.novelty import NoveltyReward
from dreamer_agent.rewards.slew import SlewReward
from dreamer_agent.rewards.staleness import Seen, StalenessReward
from dreamer_agent.rewards.surprise import PTZJEPAReward, SurpriseReward

_SIMPLE: dict[str, Callable[[], Reward]] = {
    "surprise": SurpriseReward,
    "disagreement": lambda: SurpriseReward("disagreement", linear=True),
    "error": lambda: SurpriseReward("error"),
    "progress": lambda: SurpriseReward("progress", linear=True),
    "gradient": lambda: PTZJEPAReward("raw"),
    "gradient_delta": lambda: PTZJEPAReward("delta"),
    "gradient_sign": lambda: PTZJEPAReward("sign"),
    "novelty": NoveltyReward,
    "slew": SlewReward,
}
REWARDS = (*_SIMPLE, "staleness", "extrinsic")
"""All names. ``surprise`` is whatever the world model's is; the names of kinds refuse a world model of another."""


def make_rewards(weights: Mapping[str, float], *, seen: Seen | None = None, scorer: Scorer | None = None) -> RewardMix:
    """Return the weighted mix. ``ValueError`` says which name or weight cannot be.

    ``seen`` is the record that ``staleness`` reads; without one it has its own, filled through ``RewardMix.saw``.
    ``scorer`` is what ``extrinsic`` asks.
    """
    if not weights:
        raise ValueError(f"no rewards: choose some of {', '.join(REWARDS)}")
    parts = []
    for name, weight in weights.items():
        if not math.isfinite(weight) or weight == 0.0:
            raise ValueError(f"{name}: a weight is a finite number other than zero")
        parts.append(WeightedReward(_make(name, seen, scorer), weight))
    return RewardMix(parts)


def _make(name: str, seen: Seen | None, scorer: Scorer | None) -> Reward:
    if name == "staleness":
        return StalenessReward(seen)
    if name == "extrinsic":
        if scorer is None:
            raise ValueError("extrinsic: needs a scorer of embeddings (PTZ_EXTRINSIC)")
        return ExtrinsicReward(scorer)
    if name not in _SIMPLE:
        raise ValueError(f"no reward {name!r}: there are {', '.join(REWARDS)}")
    return _SIMPLE[name]()
