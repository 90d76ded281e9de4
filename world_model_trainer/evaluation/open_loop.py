"""Open loop: how wrong the predicted embedding is after many moves, beside answers that need no model.

All errors are squared, mean over the embedding's dimensions; ratios are of means over walks. Copy-last answers with
the first view's embedding at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.world_model import WorldModel
from world_model_trainer.evaluation.angles import wrap
from world_model_trainer.evaluation.views import Walks

STEPS = (1, 2, 4, 8, 16)
LEAST_OVERLAP = 0.5
"""Share of a view that the first view must cover for the oracle warp to be asked."""


def errors(predicted: Tensor, true: Tensor) -> Tensor:
    """Return squared errors, mean over dimensions: ``[..., D]`` against ``[..., D]`` gives ``[...]``."""
    return (predicted - true).square().mean(dim=-1)


@torch.no_grad()
def dream(model: WorldModel, encoded: Tensor, walks: Walks) -> Tensor:
    """Predict open loop from the first view of each walk. ``encoded [B, T+1, D]``; returns ``[B, T, D]``."""
    return model.rollout(encoded[:, 0], walks.poses, walks.actions).float()


def copy_last(encoded: Tensor) -> Tensor:
    """Answer every step with the first embedding. ``encoded [B, T+1, D]``; returns ``[B, T, D]``."""
    return encoded[:, :1].expand(-1, encoded.shape[1] - 1, -1)


def ratio(ours: Tensor, theirs: Tensor) -> float | None:
    """Return the ratio of mean errors ``[N]`` and ``[N]``; None where theirs is nothing or there are none."""
    if not len(ours) or float(theirs.mean()) <= 0.0:
        return None
    return float(ours.double().mean() / theirs.double().mean())


def curve(ours: Tensor, theirs: Tensor, where: Tensor | None = None) -> dict[str, float | None]:
    """Return ratios at 1, 2, 4, 8 and 16 steps. Errors ``[B, T]``; ``where [B, T]`` says which count."""
    found: dict[str, float | None] = {}
    for step in STEPS:
        if step <= ours.shape[1]:
            chosen = slice(None) if where is None else where[:, step - 1]
            found[str(step)] = ratio(ours[chosen, step - 1], theirs[chosen, step - 1])
    return found


@torch.no_grad()
def shuffled_action_ratio(model: WorldModel, encoded: Tensor, walks: Walks, seed: int) -> float | None:
    """Return the one-step error under another walk's action over that under the true one: 1 if actions do nothing.

    The next pose that the model is told is where that other action would lead. ``encoded [B, T+1, D]``.
    """
    order = torch.randperm(len(walks), generator=torch.Generator().manual_seed(seed))
    pose, action = walks.poses[:, 0], walks.actions[:, 0]
    other = action[order]
    led_to = pose + other
    led_to = torch.stack([wrap(led_to[:, 0]), led_to[:, 1].clamp(-90.0, 90.0), led_to[:, 2].clamp_min(1.0)], dim=1)
    wrong = model.predict(encoded[:, 0], pose, other, led_to).embedding.float()
    right = model.predict(encoded[:, 0], pose, action, walks.poses[:, 1]).embedding.float()
    return ratio(errors(wrong, encoded[:, 1]), errors(right, encoded[:, 1]))
