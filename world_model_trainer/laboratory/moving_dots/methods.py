"""Methods by name, made of the camera's own objectives wherever there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from shared.world_model import WorldModel
from world_model_trainer.laboratory.moving_dots.inverse_dynamics import DotsInverseDynamics
from world_model_trainer.laboratory.moving_dots.networks import DotsModel, NetworkConfig, seen_by_objectives
from world_model_trainer.laboratory.moving_dots.rssm import DotsRssm, RssmModel
from world_model_trainer.laboratory.moving_dots.supervised import Supervised
from world_model_trainer.objectives import Combined, Objective, ObjectiveConfig, Rollout
from world_model_trainer.objectives.ema import Ema
from world_model_trainer.objectives.prediction_alone import PredictionAlone
from world_model_trainer.objectives.random_encoder import RandomEncoder
from world_model_trainer.objectives.sigreg import Sigreg
from world_model_trainer.objectives.simclr import Simclr
from world_model_trainer.objectives.vicreg import Vicreg

IDM = "+idm"


@dataclass(frozen=True)
class Method:
    """An objective, with its options and weights where they are not its own; ``learns``: whether it trains at all."""

    main: type[Objective]
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    inverse_dynamics: bool = False
    learns: bool = True
    joint_embedding: bool = True
    within: bool = False
    """Whether spread is measured within each trajectory, as the camera's is within each camera."""
    every_frame: bool = False
    """Whether it needs the pictures of all frames."""


_MAIN: dict[str, Method] = {
    "vicreg": Method(Vicreg),
    "sigreg": Method(Sigreg),
    "vicreg-trajectory": Method(Vicreg, within=True),
    "sigreg-trajectory": Method(Sigreg, within=True),
    "ema": Method(Ema),
    "simclr": Method(Simclr),
    "simclr-trajectory": Method(Simclr, options={"negatives": "trajectory"}),
}
_CURABLE = ("vicreg", "sigreg", "vicreg-trajectory", "ema")
METHODS: dict[str, Method] = {
    **_MAIN,
    **{f"{name}{IDM}": replace(_MAIN[name], inverse_dynamics=True) for name in _CURABLE},
    "idm": Method(PredictionAlone, weights={"prediction": 0.0}, inverse_dynamics=True, joint_embedding=False),
    "rssm": Method(DotsRssm, options={"free_nats": 3.0}, joint_embedding=False, every_frame=True),
    "supervised": Method(Supervised, joint_embedding=False),
    "random": Method(RandomEncoder, learns=False, joint_embedding=False),
}
"""The study's (vicreg, simclr, rssm, idm, supervised, random), and ours."""


class Laboratory(Combined):
    """A main objective and its add-ons, of a world model that expects no surprise."""

    def after_step(self, model: WorldModel, rollout: Rollout) -> None:
        """Tell every part."""
        for part in self.parts[1:]:
            part.after_step(model, rollout)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name, without those that count for nothing."""
        return {name: term for name, term in super().forward(rollout).items() if self._weight(name) > 0.0}

    def _weight(self, name: str) -> float:
        weights: list[float] = [part.weights.get(name, 0.0) for part in self.parts]
        return max(weights)

    @property
    def parts(self) -> list[Objective]:
        """The objective itself, its main part and its add-ons."""
        return [self, self.main, *(part for part in self.add_ons if isinstance(part, Objective))]


def build(
    name: str, networks: NetworkConfig, *, weights: Mapping[str, float] | None = None, **options: Any
) -> tuple[DotsModel, Laboratory]:
    """Return a new model and the objective called ``name``; ``weights`` and ``options`` in place of the method's own.

    ``ValueError`` names the methods there are, or the terms.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}: there are {', '.join(METHODS)}")
    method = METHODS[name]
    networks = networks.model_copy(update={"normal_embedding": method.main is Ema})
    seen = seen_by_objectives(networks)
    config = ObjectiveConfig(name=name, weights={**method.weights, **(weights or {})}, **{**method.options, **options})
    rssm = method.main is DotsRssm
    model = RssmModel(networks, config.stochastic_size) if rssm else DotsModel(networks)
    main = DotsRssm(seen, config, networks.channels) if rssm else method.main(seen, config)
    objective = Laboratory(seen, config, main, [DotsInverseDynamics(seen, config)] if method.inverse_dynamics else [])
    objective.attach(model)
    return model, objective


def parameters(model: DotsModel, objective: Objective) -> list[torch.nn.Parameter]:
    """Return everything that learns."""
    return [weight for part in (model, objective) for weight in part.parameters() if weight.requires_grad]
