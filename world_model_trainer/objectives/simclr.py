"""Contrast: a prediction shall be nearer to the view that came than to other views.

NT-Xent of Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, between
rolled-out and encoded states as in Sobal et al., 2022. Negatives from other trajectories can be told apart by whatever
is constant in each; negatives from the same trajectory cannot (Gulati and Nemenman, arXiv 2606.07770).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.objectives.base import Objective, Rollout
from world_model_trainer.objectives.prediction import prediction_term


class Simclr(Objective):
    """``L = NT-Xent + prediction``: contrast says which directions, squared error keeps predictions in their place."""

    WEIGHTS: ClassVar = {"prediction": 1.0, "contrast": 1.0}

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        groups = contrast_groups(rollout, self.config.negatives)
        predicted, seen = rollout.predicted.flatten(0, 1), rollout.encoded[:, 1:].flatten(0, 1)
        return self.weigh(
            prediction=prediction_term(rollout),
            contrast=nt_xent(predicted, seen, groups.flatten(), self.config.temperature),
        )


def contrast_groups(rollout: Rollout, negatives: str) -> Tensor:
    """Return ``[B, T]`` int64: which states are each other's negatives.

    ``batch``: those of the same camera at the same time step; ``trajectory``: those of the same trajectory.
    """
    batch, steps = rollout.predicted.shape[:2]
    trajectory = torch.arange(batch, device=rollout.predicted.device).unsqueeze(1).expand(batch, steps)
    if negatives == "trajectory":
        return trajectory
    camera = torch.zeros_like(trajectory) if rollout.cameras is None else rollout.cameras.unsqueeze(1)
    return camera * steps + torch.arange(steps, device=camera.device)


def nt_xent(first: Tensor, second: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each state's partner among all other states of its group.

    ``first`` and ``second [M, D]`` are partners row by row; ``groups [M]``. Each state has one positive and, from both
    sets, all others of its group as negatives; a state alone in its group has none and costs nothing.
    """
    count = len(first)
    states = F.normalize(torch.cat([first, second]), dim=-1)
    logits = states @ states.T / temperature
    both = torch.cat([groups, groups])
    itself = torch.eye(2 * count, dtype=torch.bool, device=logits.device)
    barred = (both.unsqueeze(0) != both.unsqueeze(1)) | itself
    partner = torch.arange(2 * count, device=logits.device).roll(count)
    return F.cross_entropy(logits.masked_fill(barred, float("-inf")), partner)
