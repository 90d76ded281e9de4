"""The seam between data, networks and objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from shared.world_model import Encoding, WorldModel, WorldModelConfig
from shared.world_model.predictor import normal_tokens

DEFAULT_OBJECTIVE = "vicreg+idm+pose"
_GRADIENT_SAMPLES = 16
"""Transitions a step whose gradient is measured one by one: enough to teach the head, few enough to afford."""


@dataclass(frozen=True)
class Trajectories:
    """Views in a row: ``images [B, T+1, 3, S, S]`` uint8, ``poses [B, T+1, 3]``, ``actions [B, T, 3]``.

    ``cameras [B]`` int64 tells cameras apart; None where all are one camera's.
    """

    images: Tensor
    poses: Tensor
    actions: Tensor
    cameras: Tensor | None = None

    def to(self, device: torch.device) -> Trajectories:
        """Return the same trajectories on a device."""
        cameras = None if self.cameras is None else self.cameras.to(device)
        return Trajectories(self.images.to(device), self.poses.to(device), self.actions.to(device), cameras)


@dataclass(frozen=True)
class Maps:
    """Spatial maps of a trajectory's views foreseen from each other, at the places of this step.

    ``places [K]``; ``predicted [B, T+1, T+1, K, C]`` from the second index to the third; ``seen [B, T+1, K, C]``: the
    same places of the views themselves, without gradient. All layer-normalised.
    """

    places: Tensor
    predicted: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Rollout:
    """What a world model made of trajectories.

    ``encoded [B, T+1, D]``: every view's embedding. ``predicted [B, T, D]``: open loop from the first view on.
    ``log_surprise [B, T]``: the logarithm of the surprise that was expected of each move. ``tokens [B, T+1, N, C]``:
    every view's spatial map. Where the world model has them: ``guesses [B, T, K, D]`` of an ensemble, ``unrest [B,
    T]``: the logarithm of the change that was expected without a move, ``pairs [B, T+1, T+1, D]``: every view from
    every other, ``maps``: foreseen spatial maps, ``magnitudes [B, T]``: measured gradients, NaN where not measured.
    ``extra``: what an objective adds for itself.
    """

    encoded: Tensor
    predicted: Tensor
    log_surprise: Tensor
    actions: Tensor
    poses: Tensor | None = None
    cameras: Tensor | None = None
    tokens: Tensor | None = None
    guesses: Tensor | None = None
    unrest: Tensor | None = None
    pairs: Tensor | None = None
    maps: Maps | None = None
    magnitudes: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)


class ObjectiveConfig(BaseModel):
    """Which objective, how much each of its terms counts, and its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default=DEFAULT_OBJECTIVE, description="an objective and add-ons: vicreg+idm+pose")
    weights: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="by term, where not the objective's own"
    )
    slices: int = Field(default=256, ge=1, le=65536, description="sigreg: directions a step")
    negatives: Literal["batch", "trajectory"] = Field(default="batch", description="simclr: where negatives come from")
    temperature: float = Field(default=0.1, gt=0.0, description="simclr")
    momentum: tuple[float, float] = Field(default=(0.996, 1.0), description="ema: at the first and at the last step")
    momentum_steps: int = Field(default=10_000, ge=1, description="ema: steps until the last momentum")
    masking: bool = Field(default=False, description="ema: also predict masked blocks of each view from the rest")
    pose_harmonics: tuple[int, int, int] = Field(
        default=(4, 2, 2), description="pose: harmonics of pan, tilt and log zoom that are read besides the pose"
    )
    pose_hidden: int = Field(default=0, ge=0, le=4096, description="pose: width of a hidden layer; 0: linear")
    belief_size: int = Field(default=128, ge=1, le=4096, description="rssm: the recurrent state")
    stochastic_size: int = Field(default=32, ge=1, le=4096, description="rssm: the Gaussian state")
    free_nats: float = Field(default=1.0, ge=0.0, description="rssm: divergence below this costs nothing")


class Objective(nn.Module, ABC):
    """Turns a rollout into named, already weighted terms; training minimises their sum.

    It may bring networks that exist for training only (heads, a decoder, a target): they are its parameters, and no
    part of the world model.
    """

    WEIGHTS: ClassVar[Mapping[str, float]] = {}
    """Every term that it can return, with the weight that it has unless configured."""
    NEEDS: ClassVar[Mapping[str, Any]] = {}
    """Fields of the world model's configuration without which it cannot work."""

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__()
        for field_name, needed in self.NEEDS.items():
            if getattr(world_model, field_name) != needed:
                raise ValueError(f"objective {config.name} needs a world model with {field_name} = {needed}")
        self.world_model, self.config = world_model, config
        self.weights = {name: config.weights.get(name, weight) for name, weight in self.WEIGHTS.items()}

    def attach(self, model: WorldModel) -> None:
        """Take what it needs of the world model that will be trained; called once, before the first step."""
        del model

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Let the world model see and predict ``batch``, within the trainer's mixed precision."""
        return roll_out(model, batch)

    @abstractmethod
    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return weighted scalar terms by name."""

    def after_step(self, model: WorldModel, rollout: Rollout) -> None:
        """Do what follows an optimiser step on ``rollout``."""
        del model, rollout

    def weigh(self, **terms: Tensor) -> dict[str, Tensor]:
        """Return the terms multiplied by their weights."""
        return {name: self.weights[name] * term for name, term in terms.items()}


def roll_out(model: WorldModel, batch: Trajectories) -> Rollout:
    """Encode every view once, then predict open loop from the first."""
    return predict_views(model, batch, encode_views(model, batch))


def encode_views(model: WorldModel, batch: Trajectories) -> Encoding:
    """Encode every view once: ``tokens [B, T+1, N, C]``, ``embedding [B, T+1, D]``."""
    trajectories, views = batch.images.shape[:2]
    encoding = model.encode(batch.images.flatten(0, 1), batch.poses.flatten(0, 1))
    return Encoding(
        encoding.tokens.reshape(trajectories, views, *encoding.tokens.shape[1:]),
        encoding.embedding.reshape(trajectories, views, -1),
    )


def predict_views(model: WorldModel, batch: Trajectories, encoding: Encoding) -> Rollout:
    """Predict open loop from the first view, and what else the world model's configuration asks for."""
    encoded = encoding.embedding
    steps = model.rollout_steps(encoded[:, 0], batch.poses, batch.actions)
    predicted = torch.stack([step.embedding for step in steps], dim=1).float()
    guesses = [step.guesses for step in steps if step.guesses is not None]
    learning = torch.is_grad_enabled()
    unrest = model.judge.unrest(encoded[:, :-1], batch.poses[:, :-1]) if learning else None
    pairs, maps = _pairs(model, batch, encoding) if learning and model.config.pairs else (None, None)
    return Rollout(
        encoded=encoded.float(),
        predicted=predicted,
        log_surprise=torch.stack([step.log_surprise for step in steps], dim=1).float(),
        actions=batch.actions,
        poses=batch.poses,
        cameras=batch.cameras,
        tokens=encoding.tokens,
        guesses=torch.stack(guesses, dim=1).float() if guesses else None,
        unrest=None if unrest is None else unrest.float(),
        pairs=pairs,
        maps=maps,
        magnitudes=_magnitudes(model, batch, predicted) if learning and model.config.surprise == "gradient" else None,
    )


def _pairs(model: WorldModel, batch: Trajectories, encoding: Encoding) -> tuple[Tensor, Maps | None]:
    places = torch.randperm(encoding.tokens.shape[2], device=encoding.tokens.device)[: model.config.token_places]
    pairs = model.predict_pairs(encoding, batch.poses, places)
    if pairs.tokens is None:
        return pairs.embedding.float(), None
    seen = normal_tokens(encoding.tokens[:, :, places].detach())
    return pairs.embedding.float(), Maps(places, pairs.tokens.float(), seen)


def _magnitudes(model: WorldModel, batch: Trajectories, predicted: Tensor) -> Tensor:
    """Measure the gradients of some first moves; NaN for all other moves."""
    chosen = torch.randperm(len(predicted), device=predicted.device)[:_GRADIENT_SAMPLES]
    magnitudes = predicted.new_full(predicted.shape[:2], float("nan"))
    magnitudes[chosen, 0] = model.gradient_surprise(
        predicted[chosen, 0].detach(), batch.images[chosen, 1], batch.poses[chosen, 1]
    )
    return magnitudes
