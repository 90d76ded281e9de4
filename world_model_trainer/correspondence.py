"""How far the camera moved between two views, read from where the places of one are found again in the other.

A head on two pooled embeddings learns its scenes by heart; one that compares spatial maps knows the geometry of any
scene. Places of one map look for themselves in the other by a softmax over cosines; each expects to be at a soft argmax
(Sun et al., "Integral Human Pose Regression", 2018). The shift, turn and scale that explain best where all of them are
(Umeyama, 1991, with learnt weights) tell each where to look again; the second answer is read as a move.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOVE_SCALE = (10.0 / math.sqrt(3.0), 6.0 / math.sqrt(3.0), math.log(1.25) / math.sqrt(3.0))
"""Deviations of moves that are uniform up to 10°, 6° and × 1.25: the units in which moves are read."""
_FIRST_SHARPNESS = math.log(10.0)
_FIRST_NEARNESS = math.log(4.0)
_WIDTH = 64
_FOUND = 5
_DISPLACEMENT_SCALE = 3.0
_LEAST_VARIANCE = 1e-3


def pose_change(pose: Tensor, next_pose: Tensor) -> Tensor:
    """Return ``[..., 3]``: the change of pan, tilt and log zoom between poses ``[..., 3]``, in ``MOVE_SCALE``."""
    turn = (next_pose[..., 0] - pose[..., 0] + 180.0) % 360.0 - 180.0
    rise = next_pose[..., 1] - pose[..., 1]
    zoom = torch.log(next_pose[..., 2].clamp_min(1.0) / pose[..., 2].clamp_min(1.0))
    return torch.stack([turn, rise, zoom], dim=-1) / pose.new_tensor(MOVE_SCALE)


class Similarity(NamedTuple):
    """Turns, scales and shifts the plane: ``x → matrix · x + shift``. ``matrix [B, 2, 2]``, ``shift [B, 2]``."""

    matrix: Tensor
    shift: Tensor

    def __call__(self, places: Tensor) -> Tensor:
        """Map ``places [N, 2]`` to ``[B, N, 2]``."""
        return places @ self.matrix.transpose(1, 2) + self.shift.unsqueeze(1)

    def numbers(self) -> Tensor:
        """Return ``[B, 4]``: the shift, the logarithm of the scale, and the turn in radians."""
        cosine, sine = self.matrix[:, 0, 0], self.matrix[:, 1, 0]
        scale = 0.5 * torch.log(cosine.square() + sine.square() + 1e-4)
        return torch.cat([self.shift, torch.stack([scale, torch.atan2(sine, cosine + 1e-6)], dim=-1)], dim=-1)


def fit_similarity(places: Tensor, found: Tensor, weights: Tensor) -> Similarity:
    """Fit where ``places [N, 2]`` were ``found [B, N, 2]`` by least squares; ``weights [B, N]`` sum to one over N."""
    weights = weights.unsqueeze(-1)
    centre, found_centre = (weights * places).sum(dim=1, keepdim=True), (weights * found).sum(dim=1, keepdim=True)
    before, after = places - centre, found - found_centre
    variance = (weights * before.square()).sum(dim=(1, 2)).clamp_min(_LEAST_VARIANCE)
    cosine = (weights * before * after).sum(dim=(1, 2)) / variance
    crossed = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    sine = (weights.squeeze(-1) * crossed).sum(dim=1) / variance
    rows = torch.stack([torch.stack([cosine, -sine], dim=-1), torch.stack([sine, cosine], dim=-1)], dim=-2)
    return Similarity(rows, (found_centre - centre @ rows.transpose(1, 2)).squeeze(1))


class Correspondence(nn.Module):
    """From two square spatial maps ``[B, N, C]`` to the move between them ``[B, 3]``, in ``MOVE_SCALE``.

    Of the places every second one in both directions looks for itself: that costs a quarter, and for one move of the
    whole picture it is plenty.
    """

    places: Tensor
    moments: Tensor
    seekers: Tensor

    def __init__(self, tokens: int, token_width: int) -> None:
        super().__init__()
        self.side = math.isqrt(tokens)
        if self.side**2 != tokens:
            raise ValueError(f"{tokens} tokens are no square map")
        self.stride = 2 if self.side > 4 else 1
        line = torch.linspace(-1.0, 1.0, self.side) if self.side > 1 else torch.zeros(1)
        places = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(1, tokens, 2)
        self.register_buffer("places", places[0], persistent=False)
        self.register_buffer("moments", torch.cat([places[0], places[0].square()], dim=-1), persistent=False)
        self.register_buffer("seekers", self._seeking(places)[0], persistent=False)
        self.log_sharpness = nn.Parameter(torch.tensor(_FIRST_SHARPNESS))
        self.log_nearness = nn.Parameter(torch.tensor(_FIRST_NEARNESS))
        self.compare = nn.Sequential(
            nn.Conv2d(token_width, _WIDTH, 3, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH // 2, 3, padding=1),
        )
        self.weigh = nn.Sequential(nn.Linear(_FOUND + token_width, _WIDTH // 2), nn.SiLU(), nn.Linear(_WIDTH // 2, 1))
        seekers = math.isqrt(len(self.seekers))
        self.look = nn.Sequential(
            nn.Conv2d(2 * (_FOUND + token_width) + 2, _WIDTH, 1),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            nn.Flatten(),
        )
        seen = _WIDTH * ((seekers + 1) // 2) ** 2
        self.read = nn.Sequential(nn.Linear(seen + 8, 2 * _WIDTH), nn.SiLU(), nn.Linear(2 * _WIDTH, 3))
        self.line = nn.Linear(8, 3)

    def forward(self, tokens: Tensor, next_tokens: Tensor) -> Tensor:
        """Read the move that leads from the view of ``tokens`` to that of ``next_tokens``."""
        tokens, next_tokens = tokens.float(), next_tokens.float()
        here, there = (self._described(each) for each in (tokens, next_tokens))
        found, fit = self._search(here, there, tokens)
        found_back, fit_back = self._search(there, here, next_tokens)
        around = [self._seeking(tokens), self._seeking(next_tokens), self.seekers.expand(len(tokens), -1, -1)]
        stacked = torch.cat([found, found_back, *around], dim=-1).transpose(1, 2)
        side = math.isqrt(len(self.seekers))
        looked = self.look(stacked.reshape(*stacked.shape[:2], side, side))
        fits = _DISPLACEMENT_SCALE * torch.cat([fit.numbers(), fit_back.numbers()], dim=-1)
        move: Tensor = self.line(fits) + self.read(torch.cat([looked, fits], dim=-1))
        return move

    def _described(self, tokens: Tensor) -> Tensor:
        """Return what places are known by, ``[B, N, C']`` of unit length: each with those around it."""
        grid = tokens.transpose(1, 2).reshape(len(tokens), -1, self.side, self.side)
        return F.normalize(self.compare(grid).flatten(2).transpose(1, 2), dim=-1)

    def _seeking(self, tokens: Tensor) -> Tensor:
        """Return those of ``tokens [B, N, C]`` that look for themselves, ``[B, Q, C]``."""
        grid = tokens.reshape(len(tokens), self.side, self.side, -1)
        first = self.stride // 2
        return grid[:, first :: self.stride, first :: self.stride].flatten(1, 2)

    def _search(self, here: Tensor, there: Tensor, tokens: Tensor) -> tuple[Tensor, Similarity]:
        """Return what seekers found, ``[B, Q, 5]``, and the fit, of directions ``here`` and ``there [B, N, C]``."""
        context = self._seeking(tokens)
        likeness = (self._seeking(here) @ there.transpose(1, 2)) * self.log_sharpness.exp()
        _, fit = self._fit(likeness, context)
        expected = fit(self.seekers)
        # The square of where a seeker should be is the same for all places, and the softmax takes no notice of it.
        nearness = 2.0 * expected @ self.places.T - self.places.square().sum(dim=-1)
        return self._fit(likeness + self.log_nearness.exp() * nearness, context)

    def _fit(self, likeness: Tensor, context: Tensor) -> tuple[Tensor, Similarity]:
        """Return ``[B, Q, 5]`` for ``likeness [B, Q, N]``: how far each went, how surely, how clearly; and the fit."""
        chance = likeness.softmax(dim=-1)
        mean, square = (chance @ self.moments).chunk(2, dim=-1)
        clear = chance.amax(dim=-1, keepdim=True)
        found = torch.cat([_DISPLACEMENT_SCALE * (mean - self.seekers), square - mean.square(), clear], dim=-1)
        weights = self.weigh(torch.cat([found, context], dim=-1)).squeeze(-1).softmax(dim=-1)
        return found, fit_similarity(self.seekers, mean, weights)
