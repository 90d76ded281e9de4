"""Presets and objectives by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.errors import UserError
from shared.world_model import WorldModelConfig
from world_model_trainer.objectives import Objective, VicregWithInverseDynamics

DEFAULT_PRESET, DEFAULT_OBJECTIVE = "tiny", "vicreg+idm"
PRESETS: Mapping[str, WorldModelConfig] = {DEFAULT_PRESET: WorldModelConfig()}
OBJECTIVES: Mapping[str, Callable[[WorldModelConfig], Objective]] = {
    DEFAULT_OBJECTIVE: lambda config: VicregWithInverseDynamics(config.embedding_size),
}


def preset(name: str) -> WorldModelConfig:
    """Return the networks' sizes. ``UserError`` names the presets there are."""
    if name not in PRESETS:
        raise UserError(f"--preset {name}: give one of {', '.join(PRESETS)}")
    return PRESETS[name]


def make_objective(name: str, config: WorldModelConfig) -> Objective:
    """Return a new objective for networks of these sizes. ``UserError`` names the objectives there are."""
    if name not in OBJECTIVES:
        raise UserError(f"--objective {name}: give one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name](config)
