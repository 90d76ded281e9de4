"""Trajectories of moving dots per second of one core: drawn, and learnt from."""

from __future__ import annotations

import sys
import time

import torch

from benchmarks.harness import Row, main, median_rate
from world_model_trainer.laboratory.moving_dots.backgrounds import textures
from world_model_trainer.laboratory.moving_dots.data import DotsConfig, MovingDots
from world_model_trainer.laboratory.moving_dots.methods import build
from world_model_trainer.laboratory.moving_dots.networks import NetworkConfig
from world_model_trainer.laboratory.moving_dots.training import LearningConfig, train

BATCH, TARGET = 256, 20_000.0
"""Trajectories of 17 frames."""
_TEXTURES, _STEPS = 1000, 10


def measure() -> list[Row]:
    """Measure every kind of noise, then training steps of the laboratory's own length of batch."""
    torch.set_num_threads(1)
    kinds = {
        "none": DotsConfig(),
        "changing uniform": DotsConfig(noise=1.0),
        "fixed uniform": DotsConfig(static_noise=1.0),
        "changing structured": DotsConfig(noise=1.0, structured_noise=True),
        "fixed structured": DotsConfig(static_noise=1.0, structured_noise=True),
        "none, three dots": DotsConfig(dots=3),
        "fixed uniform, three dots": DotsConfig(dots=3, static_noise=1.0),
    }
    pictures = textures(_TEXTURES)
    rows = []
    for name, config in kinds.items():
        dots = MovingDots(config, 0, backgrounds=pictures)
        rate = median_rate(lambda dots=dots: dots.draw(BATCH), clock=time.process_time)  # type: ignore[misc]
        rows.append(Row(f"drawn, noise {name}", BATCH * rate, "trajectories/s", TARGET))
    return rows + [_learning(name) for name in ("vicreg+idm", "sigreg+idm", "rssm")]


def _learning(method: str) -> Row:
    model, objective = build(method, NetworkConfig())
    dots, learning = MovingDots(DotsConfig(static_noise=1.0), 0), LearningConfig(steps=_STEPS)
    rate = median_rate(lambda: train(model, objective, dots, learning), clock=time.process_time, repeats=3)
    return Row(f"learnt from, {method}", _STEPS * learning.batch * rate, "trajectories/s")


if __name__ == "__main__":
    sys.exit(main("moving_dots", measure))
