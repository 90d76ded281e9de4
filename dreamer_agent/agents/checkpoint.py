"""A policy's file: safetensors with a card that says what it was trained on."""

from __future__ import annotations

from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from dreamer_agent.agents.base import LearnedAgent
from dreamer_agent.agents.networks import AgentConfig
from dreamer_agent.agents.registry import CONFIGS, build
from dreamer_agent.reach import action_tensor
from dreamer_agent.rewards import RewardMix
from shared.actions import ActionTable
from shared.messages import Name
from shared.world_model import load_tensors, save_tensors

FORMAT = "ptzjepa-policy-3"


class PolicyCard(BaseModel):
    """What a policy's file says of itself: enough to refuse it where it does not belong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    algorithm: str = "actor_critic"
    agent: Name
    policy_version: int = Field(ge=1)
    world_model: Name
    world_model_version: int = Field(ge=1, description="of the newest dreams that it learnt from")
    action_table: str = Field(description="digest of the table that it chooses from")
    config: SerializeAsAny[AgentConfig]
    rewards: dict[str, float] = Field(default_factory=dict, description="what it learns from; empty: surprise")

    @model_validator(mode="before")
    @classmethod
    def _config_of_its_kind(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and isinstance(fields.get("config"), dict):
            kind = CONFIGS.get(fields.get("algorithm", "actor_critic"), AgentConfig)
            # By its name in the card: a validator may not raise another validation error.
            fields = {**fields, "config": _validated(kind, fields["config"])}
        return fields

    @model_validator(mode="after")
    def _config_fits(self) -> Self:
        if type(self.config) is not CONFIGS.get(self.algorithm):
            raise ValueError(f"the algorithm {self.algorithm!r} is none that a policy has")
        return self


def _validated(kind: type[AgentConfig], fields: dict[str, Any]) -> AgentConfig:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"config.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def save_policy(agent: LearnedAgent, card: PolicyCard) -> bytes:
    """Pack an agent. ``ValueError`` if a weight is not finite: such a file is never written."""
    state = agent.state()
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(f"weights are not finite: {broken[0]}")
    return save_tensors(state, card.model_dump(mode="json"))


def load_policy(
    data: bytes, table: ActionTable, *, seed: int = 0, rewards: RewardMix | None = None
) -> tuple[LearnedAgent, PolicyCard]:
    """Unpack an agent that chooses from ``table`` and learns from ``rewards``.

    ``ValueError`` with the one reason why it can't be used.
    """
    state, raw = load_tensors(data)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"not a policy file: its format is not {FORMAT!r}")
    try:
        card = PolicyCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"policy card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if card.action_table != table.digest:
        raise ValueError(f"trained with the action table {card.action_table}, not with ours, {table.digest}")
    if card.config.actions != len(table):
        raise ValueError(f"chooses from {card.config.actions} actions; the table has {len(table)}")
    agent = build(card.config, action_tensor(table), seed=seed, rewards=rewards)
    agent.load_state(state)
    return agent, card
