"""What a world model knows of its world, measured beside floors: one file an idea, arrays in, plain numbers out."""

from world_model_trainer.evaluation.protocol import evaluate_place, overlay_loss
from world_model_trainer.evaluation.summary import flatten, headline
from world_model_trainer.evaluation.views import DayAndNight, Place, Views, Walks

__all__ = ["DayAndNight", "Place", "Views", "Walks", "evaluate_place", "flatten", "headline", "overlay_loss"]
