"""Who chooses the moves: one interface, agents that learn in dreams or plan, and baselines that do neither."""

from dreamer_agent.agents.actor_critic import ActorCritic, ActorCriticConfig
from dreamer_agent.agents.base import Agent, LearnedAgent, Mode
from dreamer_agent.agents.checkpoint import PolicyCard, load_policy, save_policy
from dreamer_agent.agents.random import RandomAgent
from dreamer_agent.agents.raster import RasterAgent
from dreamer_agent.agents.registry import AGENTS, BASELINES, make_agent

__all__ = [
    "AGENTS",
    "BASELINES",
    "ActorCritic",
    "ActorCriticConfig",
    "Agent",
    "LearnedAgent",
    "Mode",
    "PolicyCard",
    "RandomAgent",
    "RasterAgent",
    "load_policy",
    "make_agent",
    "save_policy",
]
