"""Presets and objectives by the names that the command line knows."""

from __future__ import annotations

from shared.errors import UserError
from shared.world_model import WorldModelConfig
from world_model_trainer.objectives import DEFAULT_OBJECTIVE, Objective, ObjectiveConfig, build_objective, networks_for

DEFAULT_PRESET = "tiny"

__all__ = ["DEFAULT_OBJECTIVE", "DEFAULT_PRESET", "make_objective", "networks"]


def networks(preset: str, objective: str) -> WorldModelConfig:
    """Return the preset's sizes, fit for this objective. ``UserError`` names what there is."""
    try:
        return networks_for(preset, ObjectiveConfig(name=objective))
    except ValueError as error:
        raise UserError(f"--preset {preset} --objective {objective}: {error}") from error


def make_objective(name: str, config: WorldModelConfig) -> Objective:
    """Return a new objective for networks of these sizes. ``UserError`` names the objectives there are."""
    try:
        return build_objective(config, ObjectiveConfig(name=name))
    except ValueError as error:
        raise UserError(f"--objective {name}: {error}") from error
