"""What the settings choose: the networks of a new world model, and what it learns by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared.errors import UserError
from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.objectives import Combined, ObjectiveConfig, build_objective, networks_for
from world_model_trainer.settings import TrainerSettings

T = TypeVar("T")


def objective_config(settings: TrainerSettings) -> ObjectiveConfig:
    """Return the objective's name and weights."""
    return ObjectiveConfig(name=settings.objective, weights=settings.objective_weights)


def networks(settings: TrainerSettings) -> WorldModelConfig:
    """Return the networks of a new world model. ``UserError`` names the settings that do not fit."""
    sizes = {} if settings.image_size is None else {"image_size": settings.image_size}
    return _chosen(
        lambda: networks_for(settings.preset, objective_config(settings), surprise=settings.surprise, **sizes)
    )


def objective_for(model: WorldModel, settings: TrainerSettings) -> Combined:
    """Return the objective that ``model`` shall learn by. ``UserError`` names the settings that do not fit it."""
    return _chosen(lambda: build_objective(model.config, objective_config(settings)))


def _chosen(make: Callable[[], T]) -> T:
    try:
        return make()
    except ValueError as error:
        raise UserError(f"PTZ_PRESET, PTZ_OBJECTIVE, PTZ_OBJECTIVE_WEIGHTS, PTZ_SURPRISE: {error}") from error
