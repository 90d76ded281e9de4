"""Objectives by name, with add-ons: ``vicreg+idm+pose``."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout, Trajectories
from world_model_trainer.objectives.ema import Ema
from world_model_trainer.objectives.inverse_dynamics import InverseDynamics
from world_model_trainer.objectives.motion import Motion
from world_model_trainer.objectives.pose import PoseReading
from world_model_trainer.objectives.prediction import squared_errors, surprise_term, tokens_term
from world_model_trainer.objectives.prediction_alone import PredictionAlone
from world_model_trainer.objectives.random_encoder import RandomEncoder
from world_model_trainer.objectives.rssm import Rssm
from world_model_trainer.objectives.sigreg import Sigreg
from world_model_trainer.objectives.simclr import Simclr
from world_model_trainer.objectives.vicreg import Vicreg

OBJECTIVES: dict[str, type[Objective]] = {
    "vicreg": Vicreg,
    "sigreg": Sigreg,
    "ema": Ema,
    "simclr": Simclr,
    "rssm": Rssm,
    "prediction": PredictionAlone,
    "random": RandomEncoder,
}
ADD_ONS: dict[str, type[Objective]] = {"idm": InverseDynamics, "pose": PoseReading, "motion": Motion}


class Combined(Objective):
    """One objective, its add-ons, and what all have in common: the sum of them all."""

    WEIGHTS: ClassVar = {"tokens": 1.0, "surprise": 0.1}

    def __init__(
        self, world_model: WorldModelConfig, config: ObjectiveConfig, main: Objective, add_ons: list[Objective]
    ) -> None:
        super().__init__(world_model, config)
        self.main = main
        self.add_ons = nn.ModuleList(add_ons)
        self._all = [main, *add_ons]
        known = {name for part in [self, *self._all] for name in part.WEIGHTS}
        if unknown := sorted(config.weights.keys() - known):
            raise ValueError(f"{config.name} has no term {unknown[0]!r}: it has {', '.join(sorted(known))}")

    def attach(self, model: WorldModel) -> None:
        """Attach every part, and leave the name with the world model."""
        model.learnt_by = self.config.name
        for part in self._all:
            part.attach(model)

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Roll out as the main objective wants it."""
        return self.main.roll_out(model, batch)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms of all parts by name."""
        terms: dict[str, Tensor] = {}
        for part in self._all:
            terms |= part(rollout)
        if rollout.maps is not None:
            terms |= self.weigh(tokens=tokens_term(rollout.maps))
        if self.world_model.surprise != "progress":  # which is counted, not learnt
            terms |= self.weigh(surprise=surprise_term(rollout))
        return terms

    def after_step(self, model: WorldModel, rollout: Rollout) -> None:
        """Tell every part, and let the judge see the errors of the first moves."""
        for part in self._all:
            part.after_step(model, rollout)
        if rollout.poses is not None:
            first_error, first_seen = squared_errors(rollout)[:, 0].detach(), rollout.encoded[:, 1].detach()
            model.judge.observe(rollout.poses[:, 1], first_error, first_seen)


def build_objective(world_model: WorldModelConfig, config: ObjectiveConfig | None = None) -> Combined:
    """Build the objective that ``config.name`` spells. ``ValueError`` says which part of the name is unknown."""
    config = config or ObjectiveConfig()
    main, *add_ons = _spelt(config.name)
    return Combined(world_model, config, main(world_model, config), [add_on(world_model, config) for add_on in add_ons])


def networks_for(preset: str, config: ObjectiveConfig | None = None, **changes: Any) -> WorldModelConfig:
    """Return the preset, with ``changes``, fit to learn by this objective. ``ValueError`` says what is unknown."""
    needs: dict[str, Any] = {}
    for part in _spelt((config or ObjectiveConfig()).name):
        needs |= part.NEEDS
    return WorldModelConfig.from_preset(preset, **{**changes, **needs})


def _spelt(name: str) -> list[type[Objective]]:
    """Return the objective that ``name`` spells, then its add-ons."""
    first, *rest = name.split("+")
    if first not in OBJECTIVES:
        raise ValueError(f"no objective {first!r}: there are {', '.join(OBJECTIVES)}")
    for add_on in rest:
        if add_on not in ADD_ONS or rest.count(add_on) > 1:
            raise ValueError(f"{name}: add-ons are {', '.join(ADD_ONS)}, each at most once")
    return [OBJECTIVES[first], *(ADD_ONS[add_on] for add_on in rest)]
