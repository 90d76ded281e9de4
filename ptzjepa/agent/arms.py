"""An arm of an examination: an agent and, if it learns, the rewards that it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamer_agent.agents.base import Agent
from dreamer_agent.agents.registry import BASELINES, CONFIGS, make_agent
from dreamer_agent.examination.oracle import OracleAgent
from dreamer_agent.examination.zones import ZoneLayout
from dreamer_agent.reach import action_tensor, limits_tensor
from dreamer_agent.rewards import REWARDS, RewardMix, Seen, make_rewards
from ptzjepa.agent.protocol import LIMITS, MOVES, OPTICS, PRESETS, VIEW_ANGLE
from shared.errors import UserError
from shared.viewing import Optics
from shared.world_model import WorldModel

ALWAYS = ("random", "oracle")
"""Arms without which the others' numbers say nothing."""
FIXED = (*BASELINES, "oracle")
_OPTIONS: Mapping[str, dict[str, Any]] = {
    "presets": {"presets": PRESETS},
    "least_recently_viewed": {"optics": Optics(across=VIEW_ANGLE, upright=VIEW_ANGLE)},
}
"""Of baselines that must know what a view shows."""
_KINDS = ("disagreement", "progress", "gradient", "error")


@dataclass(frozen=True)
class Arm:
    """``rewards`` by name with their weights; empty for agents that learn nothing."""

    agent: str
    rewards: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """What tables and files call it: ``actor_critic+disagreement+0.3*staleness``."""
        weighed = [name if weight == 1.0 else f"{weight:g}*{name}" for name, weight in self.rewards]
        return "+".join([self.agent, *weighed])

    @property
    def surprise(self) -> str:
        """What surprise must be to the world model of this arm."""
        for name, _ in self.rewards:
            for kind in _KINDS:
                if name.startswith(kind):
                    return kind
        return "error"

    def mix(self) -> RewardMix:
        """Return new rewards. Surprise of any kind where there are none: nobody reads it."""
        return make_rewards(dict(self.rewards) or {"surprise": 1.0}, seen=Seen(OPTICS))

    def make(self, model: WorldModel, rewards: RewardMix, layout: ZoneLayout, onset: int, seed: int) -> Agent:
        """Return a new agent for this arm; only the oracle is told of zones."""
        if self.agent == "oracle":
            return OracleAgent(layout, onset, action_tensor(MOVES), limits_tensor([LIMITS]))
        if self.agent in BASELINES:
            return make_agent(
                self.agent,
                embedding=model.config.embedding_size,
                actions=MOVES,
                limits=LIMITS,
                **_OPTIONS.get(self.agent, {}),
            )
        agent = make_agent(
            self.agent,
            embedding=model.config.embedding_size,
            actions=MOVES,
            seed=seed,
            rewards=rewards,
            limits=LIMITS,
        )
        agent.consult(model, limits_tensor([LIMITS]), model.config.surprise)
        return agent


def arms_of(agents: Sequence[str], rewards: Sequence[str]) -> tuple[Arm, ...]:
    """Return every learning agent with every reward, and every other agent once; random and oracle always.

    ``ppo+error`` is an agent that brings its own rewards. ``UserError`` says which name is unknown.
    """
    mixes = [parse_mix(text) for text in rewards]
    found: list[Arm] = []
    for text in agents:
        agent, plus, own = text.partition("+")
        if agent in FIXED:
            if plus:
                raise UserError(f"--agents {text}: {agent} learns nothing; leave +{own} out")
            found.append(Arm(agent))
        elif agent in CONFIGS:
            if not mixes and not plus:
                raise UserError(f"--agents {agent}: learns from rewards; give some with --rewards")
            found += [Arm(agent, tuple(mix.items())) for mix in ([parse_mix(own)] if plus else mixes)]
        else:
            raise UserError(f"--agents {text}: no such agent; there are {', '.join((*CONFIGS, *FIXED))}")
    found += [Arm(name) for name in ALWAYS]
    return tuple(dict.fromkeys(found))


def parse_mix(text: str) -> Mapping[str, float]:
    """Read ``disagreement+0.3*staleness``. ``UserError`` says what cannot be."""
    weights: dict[str, float] = {}
    for part in text.split("+"):
        weight, star, name = part.rpartition("*")
        if name not in REWARDS or name == "extrinsic":
            known = ", ".join(each for each in REWARDS if each != "extrinsic")
            raise UserError(f"--rewards {text}: no reward {name!r}; there are {known}")
        if name in weights:
            raise UserError(f"--rewards {text}: {name} is there twice")
        try:
            weights[name] = float(weight) if star else 1.0
        except ValueError:
            raise UserError(f"--rewards {text}: {weight!r} is no weight; write 0.3*{name}") from None
    kinds = [name for name in weights if name.startswith(_KINDS)]
    if len(kinds) > 1:
        raise UserError(f"--rewards {text}: a world model has one kind of surprise; choose one of {', '.join(kinds)}")
    try:
        make_rewards(weights)
    except ValueError as error:
        raise UserError(f"--rewards {text}: {error}") from error
    return weights
