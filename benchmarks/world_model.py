"""Training and encoding of the ``tiny`` world model on one core: ``python -m benchmarks.world_model``.

The reference is the same step in float32; where the CPU has no bfloat16 arithmetic both are the same.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from unittest import mock

import torch

from benchmarks.harness import Row, main, median_rate
from shared.world_model import WorldModel, WorldModelConfig, autocast, pick_device
from world_model_trainer import training
from world_model_trainer.objectives import Trajectories
from world_model_trainer.training import Trainer, TrainingConfig

ENCODED = 256


def measure() -> list[Row]:
    """Return views trained on and encoded per second of CPU time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device, config = pick_device("cpu"), TrainingConfig()
    model = WorldModel(WorldModelConfig())
    size = model.config.image_size
    batch = Trajectories(
        images=torch.randint(0, 256, (config.batch, config.length + 1, 3, size, size), dtype=torch.uint8),
        poses=torch.rand(config.batch, config.length + 1, 3) * 60.0 + 1.0,
        actions=torch.randn(config.batch, config.length, 3),
    )
    trainer = Trainer(model, config, device=device)
    views = config.batch * (config.length + 1)
    trained = views * median_rate(lambda: trainer.step(batch), seconds=2.0, repeats=3, clock=time.process_time)
    with mock.patch.object(training, "autocast", return_value=nullcontext()):
        float32 = views * median_rate(lambda: trainer.step(batch), seconds=2.0, repeats=3, clock=time.process_time)
    images = torch.randint(0, 256, (ENCODED, 3, size, size), dtype=torch.uint8)

    def encode() -> None:
        with torch.inference_mode(), autocast(device):
            model.encode(images)

    encoded = ENCODED * median_rate(encode, clock=time.process_time)
    name = f"train, {config.batch} × {config.length + 1} views a step"
    return [Row(name, trained, "views/s", reference=float32), Row("encode", encoded, "views/s")]


if __name__ == "__main__":
    sys.exit(main("world_model", measure))
