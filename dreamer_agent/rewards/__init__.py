"""Rewards, one file an idea, and how several are weighed into one. ``registry`` makes them by name."""

from dreamer_agent.rewards.extrinsic import ExtrinsicReward, LinearScorer, Scorer
from dreamer_agent.rewards.mix import Reward, RewardMix, WeightedReward
from dreamer_agent.rewards.novelty import NoveltyReward
from dreamer_agent.rewards.registry import REWARDS, make_rewards
from dreamer_agent.rewards.running_scale import RunningScale
from dreamer_agent.rewards.slew import SlewReward
from dreamer_agent.rewards.staleness import Seen, StalenessReward
from dreamer_agent.rewards.surprise import PTZJEPAReward, SurpriseReward

__all__ = [
    "REWARDS",
    "ExtrinsicReward",
    "LinearScorer",
    "NoveltyReward",
    "PTZJEPAReward",
    "Reward",
    "RewardMix",
    "RunningScale",
    "Scorer",
    "Seen",
    "SlewReward",
    "StalenessReward",
    "SurpriseReward",
    "WeightedReward",
    "make_rewards",
]
