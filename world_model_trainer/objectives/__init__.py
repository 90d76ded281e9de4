"""What a world model learns from: one file an objective, each forward returns a dict of named terms."""

from world_model_trainer.objectives.base import Objective, Rollout, Trajectories, roll_out
from world_model_trainer.objectives.default import VicregWithInverseDynamics

__all__ = ["Objective", "Rollout", "Trajectories", "VicregWithInverseDynamics", "roll_out"]
