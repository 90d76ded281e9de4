"""One world model learning from replayed trajectories: no streams, no leases, no clocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from shared.world_model import WorldModel, autocast
from world_model_trainer.objectives import Objective, Trajectories, build_objective, roll_out


class TrainingConfig(BaseModel):
    """How to learn. Fit for the ``tiny`` preset on a CPU core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=64, ge=4, description="trajectories per step")
    length: int = Field(default=4, ge=1, le=64, description="moves per trajectory: the open-loop horizon of the loss")
    learning_rate: float = Field(default=3e-3, gt=0.0)
    weight_decay: float = Field(default=1e-4, ge=0.0)
    warm_up_steps: int = Field(default=20, ge=0)
    clip_norm: float = Field(default=1.0, gt=0.0)


@dataclass(frozen=True)
class FreshErrors:
    """How wrong the world model is about transitions that it was never trained on, per transition.

    ``error [N]`` of its prediction, ``copy_last_error [N]`` of predicting no change, ``predicted [N]`` by its surprise
    head; squared, mean over the embedding's dimensions.
    """

    error: Tensor
    copy_last_error: Tensor
    predicted: Tensor


class DivergedError(ArithmeticError):
    """Training produced numbers that are not finite."""


class Trainer:
    """Holds a world model, its objective and its optimiser, and takes steps."""

    def __init__(
        self, model: WorldModel, config: TrainingConfig, *, device: torch.device, objective: Objective | None = None
    ) -> None:
        self.model = model.to(device)
        self.config, self.device = config, device
        self.objective = objective or build_objective(model.config)
        self.objective.attach(self.model)
        self.objective.to(device)
        parameters = [p for p in [*self.model.parameters(), *self.objective.parameters()] if p.requires_grad]
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=config.learning_rate,
        )
        self._parameters = parameters
        self.steps = 0

    def step(self, batch: Trajectories, *, decay: float = 1.0) -> dict[str, float]:
        """Take one optimiser step; return the weighted terms and their sum as ``total``. ``DivergedError`` on NaN.

        ``decay`` scales the learning rate after the warm-up: whoever knows when training ends makes the schedule.
        """
        warm = min(1.0, (self.steps + 1) / max(1, self.config.warm_up_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm * decay
        with autocast(self.device):
            rollout = self.objective.roll_out(self.model, batch.to(self.device))
        terms = self.objective(rollout)
        total = torch.stack(list(terms.values())).sum()
        if not bool(torch.isfinite(total)):
            raise DivergedError(f"the loss is not finite after {self.steps} steps")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        self.optimizer.step()
        self.objective.after_step(self.model, rollout)
        self.steps += 1
        return {"total": float(total.detach()), **{name: float(term.detach()) for name, term in terms.items()}}

    @torch.no_grad()
    def measure(self, batch: Trajectories) -> FreshErrors:
        """Measure one-step errors on trajectories of one move."""
        with autocast(self.device):
            rollout = roll_out(self.model, batch.to(self.device))
        before, after = rollout.encoded[:, 0], rollout.encoded[:, 1]
        return FreshErrors(
            error=(rollout.predicted[:, 0] - after).square().mean(dim=-1).cpu(),
            copy_last_error=(before - after).square().mean(dim=-1).cpu(),
            predicted=rollout.log_surprise[:, 0].exp().cpu(),
        )


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch and return numpy's generator for this run."""
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
