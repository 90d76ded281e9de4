"""What a world model learns from: a bounded memory of views on disk, from which trajectories are drawn."""

from world_model_trainer.replay.memory import Kept, Measured, Mix, Replay

__all__ = ["Kept", "Measured", "Mix", "Replay"]
