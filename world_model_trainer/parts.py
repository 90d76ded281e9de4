"""Batches in parts: for accumulation one after the other, for several processes side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from world_model_trainer.objectives import Rollout, Trajectories


def split(batch: Trajectories, parts: int) -> list[Trajectories]:
    """Split a batch into parts as equal as can be, none of them empty.

    Trajectories of one camera stay together: statistics are taken within a camera and within a part, so the fewer parts
    a camera is spread over, the nearer they are to those of the whole batch.
    """
    parts = max(1, min(parts, len(batch.images)))
    if parts == 1:
        return [batch]
    order = None if batch.cameras is None else torch.argsort(batch.cameras, stable=True)
    columns = [_split(tensor, order, parts) for tensor in (batch.images, batch.poses, batch.actions, batch.cameras)]
    return [Trajectories(*columns_of_part) for columns_of_part in zip(*columns, strict=True)]


def joined(rollouts: list[Rollout]) -> Rollout:
    """Join what the world model made of a batch's parts, without gradients and without what only losses need."""
    if len(rollouts) == 1:
        return rollouts[0]

    def column(name: str) -> Tensor | None:
        tensors = [getattr(rollout, name) for rollout in rollouts]
        return None if any(tensor is None for tensor in tensors) else torch.cat([each.detach() for each in tensors])

    needed = ("encoded", "predicted", "log_surprise", "actions", "poses", "cameras")
    return Rollout(**{name: column(name) for name in needed})  # type: ignore[arg-type]


def _split(tensor: Tensor | None, order: Tensor | None, parts: int) -> list[Tensor | None]:
    if tensor is None:
        return [None] * parts
    return list(torch.tensor_split(tensor if order is None else tensor[order], parts))
