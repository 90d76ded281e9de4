"""What a world model learns from: one file an objective, each forward returns a dict of named terms."""

from world_model_trainer.objectives.base import (
    DEFAULT_OBJECTIVE,
    Objective,
    ObjectiveConfig,
    Rollout,
    Trajectories,
    roll_out,
)
from world_model_trainer.objectives.registry import ADD_ONS, OBJECTIVES, Combined, build_objective, networks_for

__all__ = [
    "ADD_ONS",
    "DEFAULT_OBJECTIVE",
    "OBJECTIVES",
    "Combined",
    "Objective",
    "ObjectiveConfig",
    "Rollout",
    "Trajectories",
    "build_objective",
    "networks_for",
    "roll_out",
]
