"""One world model learning from trajectories: no streams, no leases, no clocks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from shared.world_model import WorldModel, autocast
from world_model_trainer.objectives import Objective, Rollout, Trajectories, build_objective, roll_out
from world_model_trainer.parts import joined, split
from world_model_trainer.schedule import rate_share
from world_model_trainer.team import Alone, Team


class TrainingConfig(BaseModel):
    """How to learn. Fit for the ``tiny`` preset on a CPU core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=64, ge=4, description="trajectories per step")
    micro_batches: int = Field(default=1, ge=1, description="parts that a batch is computed in, one after the other")
    length: int = Field(default=4, ge=1, le=64, description="moves per trajectory: the open-loop horizon of the loss")
    learning_rate: float = Field(default=3e-3, gt=0.0)
    weight_decay: float = Field(default=1e-4, ge=0.0)
    warm_up_steps: int = Field(default=20, ge=0)
    schedule_steps: int = Field(
        default=0, ge=0, description="steps until the rate has fallen to its floor; 0: it stays"
    )
    floor: float = Field(default=0.1, gt=0.0, le=1.0, description="share of the learning rate that is left then")
    clip_norm: float = Field(default=1.0, gt=0.0)
    mixed_precision: bool = Field(default=True, description="bfloat16 where the device is fast with it")

    @model_validator(mode="after")
    def _parts_have_statistics(self) -> Self:
        if 2 * self.micro_batches > self.batch:
            raise ValueError(f"{self.micro_batches} micro-batches of {self.batch} trajectories: each needs two")
        return self

    @property
    def views_a_step(self) -> int:
        """Views that one step looks at."""
        return self.batch * (self.length + 1)


@dataclass(frozen=True)
class FreshErrors:
    """How wrong the world model is about transitions that it was never trained on, per transition.

    ``error [N]`` of its prediction, ``copy_last_error [N]`` of predicting no change; squared, mean over the embedding's
    dimensions. ``predicted [N]``: the surprise that it expected, in the unit of its kind. ``embeddings [N, D]`` of the
    views that the moves led to.
    """

    error: Tensor
    copy_last_error: Tensor
    predicted: Tensor
    embeddings: Tensor


class DivergedError(ArithmeticError):
    """Training produced numbers that are not finite."""


class Trainer:
    """Holds a world model, its objective and its optimiser, and takes steps: alone, or with a team of processes."""

    def __init__(
        self,
        model: WorldModel,
        config: TrainingConfig,
        *,
        device: torch.device,
        objective: Objective | None = None,
        team: Team | None = None,
    ) -> None:
        self.model = model.to(device)
        self.config, self.device = config, device
        self.objective = objective or build_objective(model.config)
        self.objective.attach(self.model)
        self.objective.to(device)
        self.parameters = [p for p in [*self.model.parameters(), *self.objective.parameters()] if p.requires_grad]
        matrices = [p for p in self.parameters if p.ndim > 1]
        vectors = [p for p in self.parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=config.learning_rate,
            fused=True,
        )
        self._team = team or Alone()
        self.steps = 0
        """Steps over the life of the world model."""
        self.steps_before = 0
        """Those of them that other optimisers took: this one's moments know nothing of them."""

    def continue_from(self, steps: int) -> None:
        """Count on from the steps that the world model has behind it, with a new optimiser."""
        self.steps = self.steps_before = steps

    def step(self, batch: Trajectories, *, decay: float = 1.0) -> dict[str, float]:
        """Take one optimiser step; return the weighted terms and their sum as ``total``. ``DivergedError`` on NaN.

        Of a team's batch every process computes its part, and all take the same step. ``decay`` scales the learning
        rate besides: for whoever knows when training ends and makes the schedule.
        """
        return self.step_on_part(*self._team.deal(batch, decay), decay=decay)

    def step_on_part(self, part: Trajectories, share: float, *, decay: float = 1.0) -> dict[str, float]:
        """Take the step in which this process computes ``part``, so large a share of the whole batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * decay
        self.optimizer.zero_grad(set_to_none=True)
        terms, rollout = self._gradients(part, share)
        terms = self._team.add_up(self.parameters, terms)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        if not bool(torch.isfinite(terms["total"] + norm)):
            raise DivergedError(f"the loss or its gradient is not finite after {self.steps} steps")
        self.optimizer.step()
        self.objective.after_step(self.model, rollout)
        self.steps += 1
        return {name: float(term) for name, term in terms.items()}

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        config = self.config
        return config.learning_rate * rate_share(
            self.steps,
            since_start=self.steps - self.steps_before,
            warm_up=config.warm_up_steps,
            horizon=config.schedule_steps,
            floor=config.floor,
        )

    @torch.no_grad()
    def measure(self, batch: Trajectories) -> FreshErrors:
        """Measure one-step errors on trajectories of one move."""
        with self._precision():
            rollout = roll_out(self.model, batch.to(self.device))
        before, after = rollout.encoded[:, 0], rollout.encoded[:, 1]
        return FreshErrors(
            error=(rollout.predicted[:, 0] - after).square().mean(dim=-1).cpu(),
            copy_last_error=(before - after).square().mean(dim=-1).cpu(),
            predicted=rollout.log_surprise[:, 0].exp().cpu(),
            embeddings=after.float().cpu(),
        )

    def _gradients(self, part: Trajectories, share: float) -> tuple[dict[str, Tensor], Rollout]:
        """Add up the gradients of the micro-batches, each by its share of the whole batch; return the terms likewise.

        For terms that are means over trajectories this is the gradient of the whole batch. Statistics (variance,
        covariance) are those of each micro-batch, and their terms the mean of these.
        """
        sums: dict[str, Tensor] = {}
        rollouts = []
        for micro in split(part, self.config.micro_batches):
            weight = share * len(micro.images) / len(part.images)
            with self._precision():
                rollout = self.objective.roll_out(self.model, micro.to(self.device))
            rollouts.append(rollout)
            terms = self.objective(rollout)
            terms = {"total": torch.stack(list(terms.values())).sum(), **terms}
            torch.autograd.backward(weight * terms["total"])
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + weight * term.detach()
        return sums, joined(rollouts)

    def _precision(self) -> AbstractContextManager[object]:
        return autocast(self.device) if self.config.mixed_precision else nullcontext()


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch and return numpy's generator for this run."""
    torch.manual_seed(seed)
    return np.random.default_rng(seed)
