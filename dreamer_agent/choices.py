"""What the settings choose: an agent, what it learns from, and who steers without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dreamer_agent.agents import Agent, LearnedAgent, PolicyCard
from dreamer_agent.agents.registry import BASELINES, CONFIGS, build, make_baseline, make_config
from dreamer_agent.reach import action_tensor
from dreamer_agent.rewards import LinearScorer, RewardMix, make_rewards
from dreamer_agent.settings import AgentSettings
from shared.actions import ActionTable
from shared.errors import UserError
from shared.pose import PoseLimits

T = TypeVar("T")


def reward_weights(settings: AgentSettings) -> dict[str, float]:
    """Return the weights of all rewards by name."""
    weights = dict(settings.rewards)
    if settings.slew_cost:
        weights["slew"] = weights.get("slew", 0.0) + settings.slew_cost
    return weights


def rewards(settings: AgentSettings) -> RewardMix:
    """Return what the agent learns from, with its own record of what was seen. ``UserError`` says what cannot be."""
    scorer = LinearScorer.load(settings.extrinsic) if settings.extrinsic else None
    return _chosen("PTZ_REWARDS", lambda: make_rewards(reward_weights(settings), scorer=scorer))


def learns(settings: AgentSettings) -> bool:
    """Tell whether the agent is one that a learner improves. ``UserError`` if its options do not fit."""
    if settings.algorithm in BASELINES:
        _chosen("PTZ_AGENT_OPTIONS", lambda: baseline(settings, settings.algorithm, PoseLimits()))
        return False
    options = settings.agent_options
    _chosen("PTZ_AGENT_OPTIONS", lambda: make_config(settings.algorithm, embedding=1, actions=2, **options))
    return True


def new_agent(settings: AgentSettings, embedding_size: int, table: ActionTable, mix: RewardMix) -> LearnedAgent:
    """Return an agent that has not learnt anything yet."""
    options = settings.agent_options
    config = make_config(settings.algorithm, embedding=embedding_size, actions=len(table), **options)
    return build(config, action_tensor(table), seed=settings.seed, rewards=mix)


def misfit(settings: AgentSettings, card: PolicyCard) -> str | None:
    """Return why a policy is not the agent that the settings ask for; None if it is."""
    if card.algorithm != settings.algorithm:
        return f"it is of the algorithm {card.algorithm!r}, not {settings.algorithm!r}"
    wanted = make_config(
        settings.algorithm, embedding=card.config.embedding_size, actions=card.config.actions, **settings.agent_options
    )
    for name in settings.agent_options:
        if getattr(card.config, name) != getattr(wanted, name):
            return f"its {name} is {getattr(card.config, name)!r}, not {getattr(wanted, name)!r}"
    return None


def stand_in(settings: AgentSettings) -> str | None:
    """Return the baseline that steers without a policy: the agent itself if it is one, else the fallback, if any."""
    if settings.algorithm not in CONFIGS:
        return settings.algorithm
    return None if settings.fallback == "none" else settings.fallback


def baseline(settings: AgentSettings, name: str, limits: PoseLimits) -> Agent:
    """Return a baseline for a camera with these limits; options are the agent's, so a fallback has none."""
    options = settings.agent_options if name == settings.algorithm else {}
    return make_baseline(name, settings.actions(), limits, **options)


def _chosen(setting: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise UserError(f"setting {setting}: {error}") from error
