"""What ``benchmarks.world_model`` compares, each as a step to take and what one step comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.ptzjepa_step import BATCH, LITERAL, SIDE, PtzjepaStep, Thrift
from shared.world_model import WorldModel, WorldModelConfig, pick_device
from world_model_trainer.objectives import ObjectiveConfig, Trajectories, build_objective, networks_for
from world_model_trainer.training import Trainer, TrainingConfig

TRAJECTORIES = 4
_DEFAULT, _AS_THEIRS = "vicreg+idm+pose", "ema+idm+pose"


@dataclass(frozen=True)
class Side:
    """One step, the images that it reads, and the ordered pairs of images from which it learns."""

    step: Callable[[], object]
    images: int
    pairs: int


def theirs(thrift: Thrift) -> Side:
    """Return PTZJEPA's micro-step: four images, their 16 pairs with the four of an image and itself."""
    step = PtzjepaStep(thrift)
    images, positions = torch.rand(BATCH, 3, SIDE, SIDE), torch.rand(BATCH, 3) * 60.0 + 1.0
    return Side(lambda: step.micro_step(images, positions), BATCH, BATCH * BATCH)


def ours(name: str, trajectories: int, *, surprise: str = "error", mixed: bool = True) -> Side:
    """Return a step of the ``ptzjepa`` preset on trajectories of four views: 12 pairs each, of different views."""
    spelt = ObjectiveConfig(name=name)
    model = WorldModel(networks_for("ptzjepa", spelt, surprise=surprise))
    config, objective = TrainingConfig(mixed_precision=mixed), build_objective(model.config, spelt)
    trainer = Trainer(model, config, device=pick_device("cpu"), objective=objective)
    batch = drawn(model.config, trajectories, BATCH)
    return Side(lambda: trainer.step(batch), trajectories * BATCH, trajectories * BATCH * (BATCH - 1))


def tiny(*, mixed: bool = True) -> Side:
    """Return a step of ``tiny`` as the trainer takes it by default; it has no pairs."""
    config = TrainingConfig(mixed_precision=mixed)
    trainer = Trainer(WorldModel(WorldModelConfig()), config, device=pick_device("cpu"))
    batch = drawn(trainer.model.config, config.batch, config.length + 1)
    return Side(lambda: trainer.step(batch), config.batch * (config.length + 1), 0)


def drawn(config: WorldModelConfig, trajectories: int, views: int) -> Trajectories:
    """Return trajectories of noise: time does not depend on what the pictures show."""
    size = config.image_size
    return Trajectories(
        images=torch.randint(0, 256, (trajectories, views, 3, size, size), dtype=torch.uint8),
        poses=torch.rand(trajectories, views, 3) * 60.0 + 1.0,
        actions=torch.randn(trajectories, views - 1, 3),
    )


PTZJEPA, PTZJEPA_ONE_QUERY = "PTZJEPA", "PTZJEPA with one query"
FLOAT32, BF16 = "preset ptzjepa, float32", "preset ptzjepa, bf16"
AS_THEIRS_FLOAT32, AS_THEIRS_BF16 = "same, ema and gradients, float32", "same, ema and gradients, bf16"
TINY, TINY_FLOAT32 = "tiny", "tiny, float32"

SIDES: Mapping[str, Callable[[], Side]] = {
    PTZJEPA: lambda: theirs(LITERAL),
    PTZJEPA_ONE_QUERY: lambda: theirs(Thrift(one_query=True)),
    FLOAT32: lambda: ours(_DEFAULT, TRAJECTORIES, mixed=False),
    BF16: lambda: ours(_DEFAULT, TRAJECTORIES),
    AS_THEIRS_FLOAT32: lambda: ours(_AS_THEIRS, 1, surprise="gradient", mixed=False),
    AS_THEIRS_BF16: lambda: ours(_AS_THEIRS, 1, surprise="gradient"),
    TINY: tiny,
    TINY_FLOAT32: lambda: tiny(mixed=False),
}
"""Each built when asked for."""
