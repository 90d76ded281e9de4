"""Networks of every make, small enough to learn in a test, and trajectories for them."""

from __future__ import annotations

from typing import Any

import torch

from shared.world_model import WorldModelConfig
from world_model_trainer.objectives import Rollout, Trajectories

SIZE = 32
CONV: dict[str, Any] = {
    "image_size": SIZE,
    "widths": (8, 16, 32),
    "embedding_size": 32,
    "hidden_size": 48,
    "blocks": 1,
}
TOKENS: dict[str, Any] = {
    "image_size": SIZE,
    "encoder": "vit",
    "predictor": "tokens",
    "patch_size": 8,
    "encoder_width": 48,
    "encoder_depth": 2,
    "encoder_heads": 3,
    "embedding_size": 32,
    "hidden_size": 48,
    "blocks": 2,
    "pairs": True,
    "token_places": 5,
}


def config(kind: str = "conv", **changes: Any) -> WorldModelConfig:
    """Return small networks of the ``tiny`` kind (``conv``) or of the ``ptzjepa`` kind (``tokens``)."""
    return WorldModelConfig(**{**(TOKENS if kind == "tokens" else CONV), **changes})


def trajectories(batch: int = 8, moves: int = 3, *, cameras: bool = False) -> Trajectories:
    """Draw pictures of noise along walks: enough for shapes and gradients."""
    poses = torch.rand(batch, moves + 1, 3) * torch.tensor([90.0, 40.0, 2.0]) + 1.0
    return Trajectories(
        torch.randint(0, 256, (batch, moves + 1, 3, SIZE, SIZE), dtype=torch.uint8),
        poses,
        poses[:, 1:] - poses[:, :-1],
        torch.arange(batch) % 2 if cameras else None,
    )


def rollout(encoded: torch.Tensor, predicted: torch.Tensor | None = None, **more: Any) -> Rollout:
    """Make a rollout of embeddings ``[B, T+1, D]``; predictions are right where none are given."""
    predicted = encoded[:, 1:] if predicted is None else predicted
    blank = torch.zeros(*predicted.shape[:2], 3, dtype=encoded.dtype)
    return Rollout(encoded, predicted, blank[..., 0], more.pop("actions", blank), **more)
