"""Agents by name, as settings choose them, behind one interface: ``dreamer_agent.agents.base.Agent``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from dreamer_agent.agents.actor_critic import ActorCritic, ActorCriticConfig
from dreamer_agent.agents.base import Agent, LearnedAgent
from dreamer_agent.agents.dqn import DQN, DQNConfig
from dreamer_agent.agents.grpo import GRPO, GRPOConfig
from dreamer_agent.agents.networks import AgentConfig
from dreamer_agent.agents.planner import Planner, PlannerConfig
from dreamer_agent.agents.ppo import PPO, PPOConfig
from dreamer_agent.agents.random import RandomAgent
from dreamer_agent.agents.raster import RasterAgent
from dreamer_agent.agents.sticky import StickyAgent
from dreamer_agent.agents.tours import LeastRecentlyViewedAgent, PresetsAgent
from dreamer_agent.imagination import Imagination
from dreamer_agent.reach import action_tensor, limits_tensor
from dreamer_agent.rewards import RewardMix
from shared.actions import ActionTable
from shared.pose import Pose, PoseLimits

CONFIGS: dict[str, type[AgentConfig]] = {
    "actor_critic": ActorCriticConfig,
    "dqn": DQNConfig,
    "ppo": PPOConfig,
    "grpo": GRPOConfig,
    "planner": PlannerConfig,
}
"""Agents that a learner improves and a checkpoint holds, with what defines them."""
BASELINES = ("random", "sticky", "raster", "presets", "least_recently_viewed")
"""Agents that look at neither embedding nor world model."""
AGENTS = (*CONFIGS, *BASELINES)


def make_agent(
    name: str,
    *,
    embedding: int,
    actions: ActionTable | Tensor,
    seed: int = 0,
    rewards: RewardMix | None = None,
    world_model: Imagination | None = None,
    limits: PoseLimits | None = None,
    **options: Any,
) -> Agent:
    """Return a new agent for embeddings of ``embedding`` numbers and the moves of ``actions``, ``[A, 3]`` as a tensor.

    ``rewards`` are what a learning agent learns from and a planner plans by; the world model's surprise where not
    given. ``limits`` are the camera's, for planner and tours; ``world_model`` is what a planner may think with at once.
    ``options`` are fields of its configuration, as the ``variant`` of ``dqn``, ``upstream`` or ``fixed``; of baselines
    see ``make_baseline``. ``ValueError`` says what cannot be.
    """
    deltas = action_tensor(actions) if isinstance(actions, ActionTable) else actions.float()
    if name in CONFIGS:
        config = make_config(name, embedding=embedding, actions=len(deltas), **options)
        agent = build(config, deltas, seed=seed, rewards=rewards)
        if world_model is not None:
            agent.consult(world_model, limits_tensor([limits or PoseLimits()]), "")
        return agent
    return make_baseline(name, deltas, limits or PoseLimits(), **options)


def make_config(name: str, *, embedding: int, actions: int, **options: Any) -> AgentConfig:
    """Return the configuration of a learning agent. ``ValueError`` says which option cannot be."""
    try:
        sizes = {"embedding_size": embedding, "actions": actions}
        if name == "dqn":
            return DQNConfig.of(**{"variant": "fixed", **sizes, **options})
        return CONFIGS[name].model_validate({**sizes, **options})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def build(config: AgentConfig, deltas: Tensor, *, seed: int = 0, rewards: RewardMix | None = None) -> LearnedAgent:
    """Return a new agent of this configuration for the moves ``deltas [A, 3]``."""
    match config:
        case ActorCriticConfig():
            return ActorCritic(config, seed, rewards)
        case DQNConfig():
            return DQN(config, seed, rewards)
        case PPOConfig():
            return PPO(config, seed, rewards)
        case GRPOConfig():
            return GRPO(config, seed, rewards)
        case PlannerConfig():
            return Planner(config, deltas, seed, rewards)
    raise TypeError(f"no agent has the configuration {type(config).__name__}")


def make_baseline(name: str, actions: ActionTable | Tensor, limits: PoseLimits, **options: Any) -> Agent:
    """Return one of ``BASELINES`` for a camera with these limits. ``ValueError`` says what cannot be.

    Options: ``hold`` of ``sticky``; ``presets``, poses or lists of pan, tilt and zoom; ``optics`` of
    ``least_recently_viewed``.
    """
    deltas = action_tensor(actions) if isinstance(actions, ActionTable) else actions.float()
    known = {"sticky": {"hold"}, "presets": {"presets"}, "least_recently_viewed": {"optics"}}.get(name, set())
    if unknown := options.keys() - known:
        raise ValueError(f"the agent {name!r} has no option {min(unknown)!r}")
    match name:
        case "random":
            return RandomAgent(len(deltas))
        case "sticky":
            return StickyAgent(len(deltas), **options)
        case "raster":
            return RasterAgent(deltas, limits)
        case "presets":
            return PresetsAgent(deltas, limits, [_pose(each) for each in options.get("presets") or ()])
        case "least_recently_viewed":
            return LeastRecentlyViewedAgent(deltas, limits, **options)
    raise ValueError(f"no agent {name!r}: there are {', '.join(AGENTS)}")


def _pose(preset: Pose | Sequence[float]) -> Pose:
    if isinstance(preset, Pose):
        return preset
    return Pose(**dict(zip(("pan", "tilt", "zoom"), preset, strict=False)))
