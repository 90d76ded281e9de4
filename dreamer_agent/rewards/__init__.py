"""Intrinsic rewards, one file an idea, and how several are weighed into one."""

from dreamer_agent.rewards.mix import Reward, RewardMix, WeightedReward
from dreamer_agent.rewards.running_scale import RunningScale
from dreamer_agent.rewards.surprise import SurpriseReward

__all__ = ["Reward", "RewardMix", "RunningScale", "SurpriseReward", "WeightedReward"]
