"""Group structure: moves that lead back must lead the dream back.

Closing alone is cheap (who never leaves has closed every loop), so the distance from the true views on the way is
measured beside it. All distances are Euclidean and in units of the mean distance between two held-out embeddings;
where all embeddings are the same there is no unit, and the answer is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.world_model import WorldModel
from world_model_trainer.evaluation.angles import wrap

TURN_STEPS = 36
TURN_DEGREES = 10.0
ZOOM_STEP = 0.2
ZOOM_STEPS = 5


@dataclass(frozen=True)
class Path:
    """``poses [B, T+1, 3]`` that end where they began, and the ``actions [B, T, 3]`` between them."""

    poses: Tensor
    actions: Tensor


def turn(starts: Tensor) -> Path:
    """Turn once round by 36 moves of 10° of pan, from ``starts [B, 3]``."""
    return _path(starts, torch.tensor([[TURN_DEGREES, 0.0, 0.0]]).repeat(TURN_STEPS, 1).expand(len(starts), -1, -1))


def zoom_in_and_out(starts: Tensor) -> Path:
    """Zoom by five moves of .2 from ``starts [B, 3]`` and back: in where zoom is at most 2, else out first."""
    closer = torch.tensor([[0.0, 0.0, ZOOM_STEP]]).repeat(ZOOM_STEPS, 1)
    sign = torch.where(starts[:, 2] <= 2.0, 1.0, -1.0)[:, None, None]
    return _path(starts, sign * torch.cat([closer, -closer]))


def out_and_back(poses: Tensor, actions: Tensor) -> Path:
    """Go along ``poses [B, T+1, 3]`` by ``actions [B, T, 3]``, then back the same way."""
    return Path(
        torch.cat([poses, poses.flip(1)[:, 1:]], dim=1),
        torch.cat([actions, -actions.flip(1)], dim=1),
    )


@torch.no_grad()
def closure(model: WorldModel, start: Tensor, path: Path, unit: float) -> float | None:
    """Return the mean of ``‖ẑ_N − z_0‖ / unit`` over dreams from ``start [B, D]`` along a path."""
    end = model.rollout(start, path.poses, path.actions)[:, -1].float()
    return distance(end, start, unit)


@torch.no_grad()
def way_error(model: WorldModel, encoded: Tensor, path: Path, unit: float) -> float | None:
    """Return the mean of ``‖ẑ_k − z_k‖ / unit`` over all steps; ``encoded [B, T+1, D]`` are the true views."""
    dreamt = model.rollout(encoded[:, 0], path.poses, path.actions).float()
    return distance(dreamt, encoded[:, 1:], unit)


def distance(answer: Tensor, true: Tensor, unit: float) -> float | None:
    """Return the mean distance of ``answer [..., D]`` from ``true [..., D]`` in units."""
    return float((answer - true).norm(dim=-1).mean()) / unit if unit > 0.0 else None


def _path(starts: Tensor, actions: Tensor) -> Path:
    moved = torch.cumsum(actions.double(), dim=1)
    poses = torch.cat([starts.double().unsqueeze(1), starts.double().unsqueeze(1) + moved], dim=1)
    poses = torch.cat([wrap(poses[..., :1]), poses[..., 1:]], dim=-1)
    return Path(poses.float(), actions)
