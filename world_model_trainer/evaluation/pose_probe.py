"""Absolute pose from the embedding of one view's pixels: does the encoder know where the camera looks?

A ridge regression, and an MLP beside it, are fitted on embeddings of views at some poses and judged at others, as in
Sobal et al. 2022 and LeWorldModel (arXiv 2603.19312). Neither ever sees a pose, so nothing leaks; the control with
shuffled images must know nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model_trainer.evaluation.angles import degrees_between, pose_targets, poses_from_targets, view_width

PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Per sample, on weights of standardised inputs."""
INNER_SHARE = 0.8
"""Of the views to fit at, those that the penalty is tried on; the rest chooses it. Held-out views have no say."""
MLP_STEPS = 1200
MLP_BATCH = 512

Predict = Callable[[Tensor], Tensor]
"""Maps embeddings ``[N, D]`` to targets ``[N, K]``."""


@dataclass(frozen=True)
class PoseScores:
    """R² of pan (mean over its sine and cosine), tilt and log zoom; median angle between true and read direction, in
    degrees and as share of that view's horizontal field of view.
    """

    pan: float
    tilt: float
    zoom: float
    degrees: float
    fov_share: float

    @property
    def mean(self) -> float:
        """Mean R² over pan, tilt and zoom."""
        return (self.pan + self.tilt + self.zoom) / 3.0


def r2(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the coefficient of determination per column of ``[N, K]``: 1 perfect, 0 no better than the mean."""
    residual = (predicted - true).double().square().sum(dim=0)
    total = (true - true.mean(dim=0)).double().square().sum(dim=0)
    return 1.0 - residual / total


def fit_ridge(inputs: Tensor, targets: Tensor) -> Predict:
    """Fit ``targets [N, K]`` linearly by ``inputs [N, D]``, standardised, in closed form.

    The penalty is the one that does best on the last fifth when fitted on the rest; then all are fitted.
    """
    inner = max(1, round(INNER_SHARE * len(inputs)))
    scale = targets.std(dim=0) + 1e-6

    def loss(penalty: float) -> float:
        predict = _ridge(inputs[:inner], targets[:inner], penalty)
        return float(((predict(inputs[inner:]) - targets[inner:]) / scale).square().mean())

    return _ridge(inputs, targets, min(PENALTIES, key=loss))


def _ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Predict:
    mean, scale = inputs.mean(dim=0), inputs.std(dim=0) + 1e-6
    centre = targets.mean(dim=0)
    design = ((inputs - mean) / scale).double()
    ridge = penalty * len(inputs) * torch.eye(design.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(design.T @ design + ridge, design.T @ (targets - centre).double())
    return lambda others: (((others - mean) / scale).double() @ weights).float() + centre


def fit_mlp(inputs: Tensor, targets: Tensor, seed: int, *, steps: int = MLP_STEPS) -> Predict:
    """Fit ``targets [N, K]`` by an MLP with two hidden layers of 256 on standardised ``inputs [N, D]``."""
    mean, scale = inputs.mean(dim=0), inputs.std(dim=0) + 1e-6
    centre, spread = targets.mean(dim=0), targets.std(dim=0) + 1e-6
    design, wanted = (inputs - mean) / scale, (targets - centre) / spread
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.Linear(inputs.shape[1], 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, targets.shape[1])
        )
        optimizer = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 1e-3 * (1.0 + math.cos(math.pi * step / steps))
            chosen = torch.randint(len(design), (min(MLP_BATCH, len(design)),))
            loss = F.mse_loss(head(design[chosen]), wanted[chosen])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
    head.requires_grad_(False)
    return lambda others: head((others - mean) / scale) * spread + centre


def score(predict: Predict, embeddings: Tensor, poses: Tensor, field_of_view: float) -> PoseScores:
    """Judge a probe on ``embeddings [N, D]`` of views at ``poses [N, 3]``; ``field_of_view`` in degrees at zoom 1."""
    targets = pose_targets(poses)
    predicted = predict(embeddings)
    sine, cosine, tilt, zoom = r2(predicted, targets).tolist()
    off = degrees_between(poses_from_targets(predicted), poses)
    share = off / view_width(poses[:, 2], field_of_view)
    return PoseScores((sine + cosine) / 2.0, tilt, zoom, float(off.median()), float(share.median()))


def linear_probe(embeddings: Tensor, poses: Tensor) -> Predict:
    """Fit the linear probe on ``embeddings [N, D]`` of views at ``poses [N, 3]``."""
    return fit_ridge(embeddings, pose_targets(poses))


def mlp_probe(embeddings: Tensor, poses: Tensor, seed: int, *, steps: int = MLP_STEPS) -> Predict:
    """Fit the MLP probe on ``embeddings [N, D]`` of views at ``poses [N, 3]``."""
    return fit_mlp(embeddings, pose_targets(poses), seed, steps=steps)


def shuffled_probe(embeddings: Tensor, poses: Tensor, seed: int) -> Predict:
    """Fit the control: a linear probe on embeddings that belong to other poses."""
    order = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))
    return linear_probe(embeddings[order], poses)
