"""How far the camera moved between two views, read from where the places of one are found again in the other.

A head on two pooled embeddings learns its scenes by heart; one that compares spatial maps knows the geometry of any
scene. Every place of one map looks for itself in the other by a softmax over cosines; where it expects to be (a soft
argmax: Sun et al., "Integral Human Pose Regression", 2018) less where it was is its displacement.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOVE_SCALE = (10.0 / math.sqrt(3.0), 6.0 / math.sqrt(3.0), math.log(1.25) / math.sqrt(3.0))
"""Deviations of moves that are uniform up to 10°, 6° and × 1.25: the units in which moves are read."""
_FIRST_SHARPNESS = math.log(10.0)
_WIDTH = 64
_DISPLACEMENT_SCALE = 3.0


def pose_change(pose: Tensor, next_pose: Tensor) -> Tensor:
    """Return ``[..., 3]``: the change of pan, tilt and log zoom between poses ``[..., 3]``, in ``MOVE_SCALE``."""
    turn = (next_pose[..., 0] - pose[..., 0] + 180.0) % 360.0 - 180.0
    rise = next_pose[..., 1] - pose[..., 1]
    zoom = torch.log(next_pose[..., 2].clamp_min(1.0) / pose[..., 2].clamp_min(1.0))
    return torch.stack([turn, rise, zoom], dim=-1) / pose.new_tensor(MOVE_SCALE)


class Correspondence(nn.Module):
    """From two square spatial maps ``[B, N, C]`` to the move between them ``[B, 3]``, in ``MOVE_SCALE``."""

    places: Tensor

    def __init__(self, tokens: int, token_width: int) -> None:
        super().__init__()
        side = math.isqrt(tokens)
        if side**2 != tokens:
            raise ValueError(f"{tokens} tokens are no square map")
        self.side = side
        line = torch.linspace(-1.0, 1.0, side) if side > 1 else torch.zeros(1)
        places = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(tokens, 2)
        self.register_buffer("places", places, persistent=False)
        self.log_sharpness = nn.Parameter(torch.tensor(_FIRST_SHARPNESS))
        self.compare = nn.Linear(token_width, token_width)
        stride = 2 if side > 4 else 1
        self.read = nn.Sequential(
            nn.Conv2d(2 * 5 + 2 + token_width, _WIDTH, 1),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=stride, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=stride, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(min(side, 4)),
            nn.Flatten(),
            nn.Linear(_WIDTH * min(side, 4) ** 2, 2 * _WIDTH),
            nn.SiLU(),
            nn.Linear(2 * _WIDTH, 3),
        )

    def forward(self, tokens: Tensor, next_tokens: Tensor) -> Tensor:
        """Read the move that leads from the view of ``tokens`` to that of ``next_tokens``."""
        here, there = (F.normalize(self.compare(each), dim=-1) for each in (tokens, next_tokens))
        likeness = (here @ there.transpose(1, 2)).float() * self.log_sharpness.exp()
        seen = [self._displacements(each) for each in (likeness, likeness.transpose(1, 2))]
        stacked = torch.cat([*seen, self.places.expand(len(tokens), -1, -1), tokens.float()], dim=-1)
        move: Tensor = self.read(stacked.transpose(1, 2).reshape(len(tokens), -1, self.side, self.side))
        return move.float()

    def _displacements(self, likeness: Tensor) -> Tensor:
        """Return ``[B, N, 5]`` for ``likeness [B, N, N]``: how far each place went, how surely, and how clearly."""
        chance = likeness.softmax(dim=-1)
        mean = chance @ self.places
        spread = chance @ self.places.square() - mean.square()
        clear = chance.amax(dim=-1, keepdim=True)
        return torch.cat([_DISPLACEMENT_SCALE * (mean - self.places), spread, clear], dim=-1)
