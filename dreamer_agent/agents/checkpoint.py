"""A policy's file: safetensors with a card that says what it was trained on."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dreamer_agent.agents.actor_critic import ActorCritic, ActorCriticConfig
from shared.actions import ActionTable
from shared.messages import Name
from shared.world_model import load_tensors, save_tensors

FORMAT = "ptzjepa-policy-1"


class PolicyCard(BaseModel):
    """What a policy's file says of itself: enough to refuse it where it does not belong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    algorithm: str = ActorCritic.algorithm
    agent: Name
    policy_version: int = Field(ge=1)
    world_model: Name
    world_model_version: int = Field(ge=1, description="of the newest dreams that it learnt from")
    action_table: str = Field(description="digest of the table that it chooses from")
    config: ActorCriticConfig


def save_policy(agent: ActorCritic, card: PolicyCard) -> bytes:
    """Pack an agent. ``ValueError`` if a weight is not finite: such a file is never written."""
    state = agent.state()
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(f"weights are not finite: {broken[0]}")
    return save_tensors(state, card.model_dump(mode="json"))


def load_policy(data: bytes, table: ActionTable, *, seed: int = 0) -> tuple[ActorCritic, PolicyCard]:
    """Unpack an agent that chooses from ``table``. ``ValueError`` with the one reason why it can't be used."""
    state, raw = load_tensors(data)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"not a policy file: its format is not {FORMAT!r}")
    try:
        card = PolicyCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"policy card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if card.algorithm != ActorCritic.algorithm:
        raise ValueError(f"the algorithm {card.algorithm!r} is not {ActorCritic.algorithm!r}")
    if card.action_table != table.digest:
        raise ValueError(f"trained with the action table {card.action_table}, not with ours, {table.digest}")
    if card.config.actions != len(table):
        raise ValueError(f"chooses from {card.config.actions} actions; the table has {len(table)}")
    agent = ActorCritic(card.config, seed)
    agent.load_state(state)
    return agent, card
