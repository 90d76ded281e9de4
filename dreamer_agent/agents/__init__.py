"""Who chooses the moves: one interface, the actor-critic that learns in dreams, and baselines that do not learn."""

from dreamer_agent.agents.actor_critic import ActorCritic, ActorCriticConfig
from dreamer_agent.agents.base import Agent, Mode
from dreamer_agent.agents.checkpoint import PolicyCard, load_policy, save_policy
from dreamer_agent.agents.random import RandomAgent
from dreamer_agent.agents.raster import RasterAgent

__all__ = [
    "ActorCritic",
    "ActorCriticConfig",
    "Agent",
    "Mode",
    "PolicyCard",
    "RandomAgent",
    "RasterAgent",
    "load_policy",
    "save_policy",
]
