"""The seam between data, networks and objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.world_model import WorldModel


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
class Rollout:
    """What a world model made of trajectories.

    ``encoded [B, T+1, D]``: every view's embedding. ``predicted [B, T, D]``: open loop from the first view on.
    ``log_surprise [B, T]``: the logarithm of the error that was expected of each prediction.
    """

    encoded: Tensor
    predicted: Tensor
    log_surprise: Tensor
    actions: Tensor


class Objective(nn.Module, ABC):
    """Turns a rollout into named, already weighted terms; training minimises their sum."""

    @abstractmethod
    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return scalar terms by name."""


def roll_out(model: WorldModel, batch: Trajectories) -> Rollout:
    """Encode every view once, then predict open loop from the first."""
    trajectories, views = batch.images.shape[:2]
    encoded = model.encode(batch.images.flatten(0, 1)).embedding.reshape(trajectories, views, -1)
    steps = model.rollout_steps(encoded[:, 0], batch.poses, batch.actions)
    return Rollout(
        encoded=encoded.float(),
        predicted=torch.stack([step.embedding for step in steps], dim=1).float(),
        log_surprise=torch.stack([step.log_surprise for step in steps], dim=1).float(),
        actions=batch.actions,
    )
