"""Training on dots that are drawn as they are needed: no epoch comes twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from shared.world_model import autocast
from world_model_trainer.laboratory.moving_dots.data import MovingDots
from world_model_trainer.laboratory.moving_dots.lars import Lars
from world_model_trainer.laboratory.moving_dots.methods import METHODS, Laboratory, parameters
from world_model_trainer.laboratory.moving_dots.networks import DotsModel, as_trajectories

Told = Callable[[int, dict[str, float]], None]
"""Hears of the number of steps taken and of the last step's terms."""
_TELL_EVERY = 20


class LearningConfig(BaseModel):
    """How to learn. The defaults are the laboratory's own: a minute of one core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=1000, ge=0)
    batch: int = Field(default=64, ge=4, description="trajectories a step")
    pairs: int | None = Field(
        default=2, ge=1, description="pairs of neighbouring frames that are encoded besides the first; None: all frames"
    )
    optimizer: Literal["adamw", "lars"] = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0.0)
    weight_decay: float = Field(default=1e-4, ge=0.0)
    warm_up: float = Field(default=0.05, ge=0.0, lt=1.0, description="share of the steps")
    floor: float = Field(default=0.01, ge=0.0, le=1.0, description="share of the rate that the cosine ends at")
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    overlay: float = Field(
        default=0.0, ge=0.0, le=1.0, description="weight, at most, of a picture of another trajectory laid over each"
    )
    mixed_precision: bool = Field(default=True, description="bfloat16 for the encoder where the device is fast with it")


class DivergedError(ArithmeticError):
    """Training produced numbers that are not finite."""


def train(
    model: DotsModel,
    objective: Laboratory,
    dots: MovingDots,
    config: LearningConfig,
    tell: Told = lambda steps, terms: None,
) -> None:
    """Train ``model`` in place. ``DivergedError`` where the loss is not finite."""
    method = METHODS[objective.config.name]
    if not method.learns:
        return
    model.train()
    weights = parameters(model, objective)
    optimizer = make_optimizer(weights, config)
    pairs = None if method.every_frame else config.pairs
    for step in range(config.steps):
        rate = config.learning_rate * rate_share(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        drawn = dots.draw(config.batch, pairs)
        batch = as_trajectories(replace(drawn, states=overlaid(drawn.states, config.overlay)), apart=method.within)
        with autocast(dots.device) if config.mixed_precision else torch.autocast(dots.device.type, enabled=False):
            rollout = objective.roll_out(model, batch)
        terms = objective(rollout)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(weights, config.clip_norm)
        optimizer.step()
        objective.after_step(model, rollout)
        if (step + 1) % _TELL_EVERY == 0 or step + 1 == config.steps:
            tell(step + 1, _numbers(step + 1, total, terms))


def overlaid(states: Tensor, most: float) -> Tensor:
    """Lay over every picture of ``states [B, K, C, 28, 28]`` another one of the batch, its weight from U(0, ``most``).

    Each frame of a trajectory gets another, so that nothing in it is quite fixed any more.
    """
    if not most:
        return states
    pictures = states.flatten(0, 1)
    weights = most * torch.rand(len(pictures), 1, 1, 1, device=states.device)
    others = pictures[torch.randperm(len(pictures), device=states.device)]
    return torch.addcmul(pictures, weights, others).view_as(states)


def make_optimizer(weights: list[nn.Parameter], config: LearningConfig) -> torch.optim.Optimizer:
    """Return the optimiser that is asked for; vectors have no weight decay."""
    if config.optimizer == "lars":
        return Lars(weights, config.learning_rate, weight_decay=config.weight_decay)
    matrices = [weight for weight in weights if weight.ndim > 1]
    vectors = [weight for weight in weights if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def rate_share(step: int, config: LearningConfig) -> float:
    """Return the share of the learning rate at ``step``: a linear warm-up, then a cosine to the floor."""
    warm = config.warm_up * config.steps
    if step < warm:
        return (step + 1) / (math.floor(warm) + 1)
    done = (step - warm) / max(1.0, config.steps - warm)
    return config.floor + (1.0 - config.floor) * 0.5 * (1.0 + math.cos(math.pi * done))


def _numbers(steps: int, total: Tensor, terms: dict[str, Tensor]) -> dict[str, float]:
    numbers = {"total": float(total.detach()), **{name: float(term.detach()) for name, term in terms.items()}}
    if not math.isfinite(numbers["total"]):
        raise DivergedError(f"the loss is not finite after {steps} steps")
    return numbers
