"""What a frozen model knows of the dot: linear probes on states that were rolled out from the first frame.

As in the study: one bias-free linear layer on [z_1, ẑ_2 … ẑ_T] of fresh trajectories, and the root of the mean over
frames of the squared Euclidean error, in pixels, on others. Least squares gives the layer in closed form. Knowing
nothing costs 8.9 px if locations were uniform; at the walls dots gather, so the mean's own error stands beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from world_model_trainer.evaluation.spread import rank_me, within_between
from world_model_trainer.laboratory.moving_dots.data import SIDE, MovingDots
from world_model_trainer.laboratory.moving_dots.networks import DotsModel, as_trajectories

JUDGED, SPREAD = 3000, 512
"""Trajectories to judge the probe on, after a fit on twice as many others; and to measure embeddings' spread on."""
PENALTY = 1e-8
"""Of the least squares, per sample and mean square of the states: for rank alone."""
MIDDLE = (SIDE - 1) / 2.0
_BATCH = 250

Read = Callable[[Tensor], Tensor]
"""Maps states ``[..., D]`` to locations ``[..., 2]`` in pixels."""


@dataclass(frozen=True)
class Seen:
    """What a model makes of fresh trajectories: ``states [B, T, D]`` rolled out from the first frame, and the
    ``locations [B, T, N, 2]`` of all dots, in pixels.
    """

    states: Tensor
    locations: Tensor


@torch.no_grad()
def look(model: DotsModel, dots: MovingDots, count: int) -> Seen:
    """Roll out ``count`` fresh trajectories with a frozen model."""
    states, locations = [], []
    for at in range(0, count, _BATCH):
        batch = dots.draw(min(_BATCH, count - at), pairs=0)
        first = model.encode(batch.states[:, 0]).embedding
        states.append(torch.cat([first.unsqueeze(1), model.dream(first, batch.actions[:, :, 0])], dim=1))
        locations.append(batch.locations)
    return Seen(torch.cat(states), torch.cat(locations))


def fit_probe(states: Tensor, locations: Tensor) -> Read:
    """Fit a bias-free linear layer from ``states [B, T, D]`` to ``locations [B, T, 2]`` less the picture's middle."""
    design = states.flatten(0, -2).double()
    wanted = locations.flatten(0, -2).double() - MIDDLE
    square = design.T @ design / len(design)
    size = len(square)
    ridge = PENALTY * (square.diagonal().mean() + 1e-12) * torch.eye(size, dtype=square.dtype, device=square.device)
    weights = torch.linalg.solve(square + ridge, design.T @ wanted / len(design)).float()
    return lambda others: others @ weights + MIDDLE


def squared_errors(read: Read, states: Tensor, locations: Tensor) -> Tensor:
    """Return the squared Euclidean errors in square pixels: ``[B, T]``."""
    return (read(states) - locations).square().sum(dim=-1)


def probe(model: DotsModel, dots: MovingDots, judged: int = JUDGED) -> dict[str, Any]:
    """Measure a frozen model on fresh trajectories of ``dots``, ``judged`` of them; lengths in pixels.

    ``rmse`` over all frames, ``rmse_by_step``, ``encoder_rmse`` of a probe of the first frame's embedding alone,
    ``mean_rmse`` of the mean location, and the embeddings' spread. Of three dots, ``rmse`` is the first one's, whose
    actions the model sees, and ``dots`` has all of them.
    """
    model.eval()
    known, asked = look(model, dots, 2 * judged), look(model, dots, judged)
    all_dots = [_probe_one(known, asked, dot) for dot in range(known.locations.shape[2])]
    found = {**all_dots[0], **_spread(model, dots)}
    if len(all_dots) > 1:
        found["dots"] = all_dots
    return found


def _probe_one(fit: Seen, judged: Seen, dot: int) -> dict[str, Any]:
    known, asked = fit.locations[:, :, dot], judged.locations[:, :, dot]
    errors = squared_errors(fit_probe(fit.states, known), judged.states, asked).mean(dim=0)
    first = squared_errors(fit_probe(fit.states[:, :1], known[:, :1]), judged.states[:, :1], asked[:, :1])
    ignorant = (asked - known.mean(dim=(0, 1))).square().sum(dim=-1).mean()
    return {
        "rmse": float(errors.mean().sqrt()),
        "rmse_by_step": errors.sqrt().tolist(),
        "encoder_rmse": float(first.mean().sqrt()),
        "mean_rmse": float(ignorant.sqrt()),
    }


@torch.no_grad()
def _spread(model: DotsModel, dots: MovingDots) -> dict[str, float]:
    batch = as_trajectories(dots.draw(SPREAD))
    found = model.encode(batch.images.flatten(0, 1)).embedding
    embeddings = found.reshape(*batch.images.shape[:2], -1)
    # RankMe of as many embeddings as trajectories, one each: so that frames of one background do not count for many.
    return {
        "within_between": within_between(embeddings),
        "rank_me": rank_me(embeddings.flatten(0, 1)[:: embeddings.shape[1] // 4]),
    }
