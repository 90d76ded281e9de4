"""What surprise is: four answers behind one interface, chosen by ``WorldModelConfig.surprise``.

* ``error``: a head expects the squared error of the prediction, sample by sample.
* ``disagreement``: the variance among the predictions of an ensemble of small heads, beside what changes by itself.
* ``progress``: by how much the error has been falling around the pose that the move leads to.
* ``gradient``: a head expects how hard the view will pull on the encoder's weights, as PTZJEPA's reward has it; see
  ``shared.world_model.gradients`` for the magnitude itself.

Each is expected before the view is seen, which is what a dream needs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig
from shared.world_model.features import pose_features
from shared.world_model.predictor import Foreseen

_TINY = 1e-8
_EVIDENCE_PER_HIDDEN = 2
_PAN_CELLS, _TILT_CELLS, _ZOOM_CELLS = 24, 12, 4
_FAST, _SLOW = 0.1, 0.01
_FOLLOW = 0.02
"""Of the way that the ensemble's averaged members go towards the learning ones with every lesson."""
_LEVEL_RATE = 0.01
_FINEST = 0.1
"""Of the embeddings' variance: members that differ by less than this need not be told apart."""
_UNREST_HIDDEN = 64
_UNREST_HARMONICS = (4, 2, 1)
_CALM = -6.0
"""Logarithm of the unrest to expect where nothing is known of it: next to none."""
_GRADIENT_AT_BIRTH = 1e-4
"""About what an untrained encoder shows: to begin at one would bend the first steps of all that learns."""


class Judge(nn.Module, ABC):
    """Expects surprise; holds what it has learnt of it."""

    @abstractmethod
    def forward(self, foreseen: Foreseen, next_pose: Tensor) -> Tensor:
        """Return the logarithm of the surprise to expect, ``[B, Q]``, for moves to ``next_pose [B, Q, 3]``."""

    def guesses(self, foreseen: Foreseen) -> Tensor | None:
        """Return what an ensemble's members predict, ``[B, Q, K, D]``; None without an ensemble."""
        del foreseen
        return None

    def unrest(self, embedding: Tensor, pose: Tensor) -> Tensor | None:
        """Return the logarithm of the change to expect of ``embedding [..., D]`` at ``pose [..., 3]`` without a move.

        None where nobody asks for it.
        """
        del embedding, pose
        return None

    def observe(self, next_pose: Tensor, error: Tensor, seen: Tensor) -> None:
        """Take note, after a lesson, of the squared errors ``[N]`` of moves to ``next_pose [N, 3]``.

        ``seen [N, D]``: the embeddings that were found there.
        """
        del next_pose, error, seen


class ExpectedError(Judge):
    """A head that reads the predictor's evidence. What it expects is up to who teaches it: error or gradient."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        last = nn.Linear(hidden, 1)
        if config.surprise == "gradient":
            nn.init.constant_(last.bias, math.log(_GRADIENT_AT_BIRTH))
        self.head = nn.Sequential(nn.Linear(_EVIDENCE_PER_HIDDEN * hidden, hidden), nn.SiLU(), last)

    def forward(self, foreseen: Foreseen, next_pose: Tensor) -> Tensor:
        """Return what the head says."""
        del next_pose
        expected: Tensor = self.head(foreseen.evidence).squeeze(-1)
        return expected


class Disagreement(Judge):
    """What could be learnt of a view, in nats: how far ``K`` small heads differ beside what changes by itself.

    The heads learn the same prediction from different beginnings and samples (Pathak, Gandhi and Gupta,
    "Self-Supervised Exploration via Disagreement", ICML 2019; Sekar et al., "Planning to Explore via Self-Supervised
    World Models", ICML 2020). The variance among them falls with every look at a place, but where noise is large it
    falls from so high that it outshines everything there is to learn for thousands of views. So it counts beside the
    noise, as in the information that one more view of a noisy quantity brings (Depeweg et al., "Decomposition of
    Uncertainty in Bayesian Deep Learning", ICML 2018): ``log(1 + variance / (unrest + finest))``.

    Unrest is what the embedding changes between two views without a move. The predictor foresees no change then, so
    all of that is noise to it, and needs no estimate of what is still to be learnt. A further head expects it from
    where the move leads. ``finest`` is a tenth of the embeddings' variance. Members are averaged over lessons: else
    their own jitter, which is largest where noise is, would count as disagreement.
    """

    slow_first: Tensor
    slow_second: Tensor
    level: Tensor

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        inner, outer = config.member_size, config.embedding_size
        evidence = _EVIDENCE_PER_HIDDEN * config.hidden_size
        self.first = nn.Parameter(torch.randn(config.members, evidence, inner) / math.sqrt(evidence))
        self.second = nn.Parameter(torch.randn(config.members, inner, outer) / math.sqrt(inner))
        self.register_buffer("slow_first", self.first.detach().clone())
        self.register_buffer("slow_second", self.second.detach().clone())
        self.register_buffer("level", torch.zeros(2))
        last = nn.Linear(_UNREST_HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, _CALM)
        features = outer + 2 * sum(_UNREST_HARMONICS)
        self.restless = nn.Sequential(nn.Linear(features, _UNREST_HIDDEN), nn.SiLU(), last)

    def guesses(self, foreseen: Foreseen) -> Tensor:
        """Return the members' predictions, ``[B, Q, K, D]``."""
        return _guesses(foreseen, self.first, self.second)

    def unrest(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return the logarithm of the change to expect without a move; no gradient goes to the embedding."""
        seen = torch.nn.functional.layer_norm(embedding.detach(), embedding.shape[-1:])
        known = torch.cat([seen, pose_features(pose, *_UNREST_HARMONICS).to(seen.dtype)], dim=-1)
        unrest: Tensor = self.restless(known).squeeze(-1)
        return unrest

    @torch.no_grad()
    def forward(self, foreseen: Foreseen, next_pose: Tensor) -> Tensor:
        """Return the logarithm of the information to expect. No gradient makes members agree or places restless."""
        variance = _guesses(foreseen, self.slow_first, self.slow_second).float().var(dim=2).mean(dim=-1)
        noise = self.unrest(foreseen.embedding, next_pose).float().exp() + _FINEST * self._level()
        return torch.log(torch.log1p(variance / noise) + _TINY)

    @torch.no_grad()
    def observe(self, next_pose: Tensor, error: Tensor, seen: Tensor) -> None:
        """Let the averaged members follow, and take note of how much the embeddings ``seen [N, D]`` vary."""
        del next_pose, error
        self.slow_first.lerp_(self.first, _FOLLOW)
        self.slow_second.lerp_(self.second, _FOLLOW)
        if len(seen) > 1:
            now = torch.stack([seen.float().var(dim=0).mean(), self.level.new_ones(())])
            self.level.lerp_(now, _LEVEL_RATE)

    def _level(self) -> Tensor:
        """Return the variance of embeddings, mean over dimensions; 1 before any was seen."""
        return torch.where(self.level[1] > 0.0, self.level[0] / self.level[1].clamp_min(_TINY), 1.0)


def _guesses(foreseen: Foreseen, first: Tensor, second: Tensor) -> Tensor:
    hidden = torch.nn.functional.silu(torch.einsum("bqe,keh->bqkh", foreseen.evidence, first))
    change = torch.einsum("bqkh,khd->bqkd", hidden, second)
    return foreseen.start.detach().unsqueeze(2) + foreseen.size[..., None, None] * change


class Progress(Judge):
    """Falling error: the difference of a slow and a fast running mean of errors, in each cell of poses.

    After Oudeyer, Kaplan and Hafner, "Intrinsic Motivation Systems for Autonomous Mental Development", 2007. What
    cannot be learnt makes no progress, however wrong the model is about it. Cells are 15° × 15° × one doubling of zoom.
    A cell never visited promises as much as the best one does.
    """

    fast: Tensor
    slow: Tensor
    visits: Tensor

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        del config
        for name in ("fast", "slow", "visits"):
            self.register_buffer(name, torch.zeros(_PAN_CELLS * _TILT_CELLS * _ZOOM_CELLS))

    def forward(self, foreseen: Foreseen, next_pose: Tensor) -> Tensor:
        """Return the logarithm of the progress around ``next_pose [B, Q, 3]``."""
        del foreseen
        progress = torch.relu(self.slow - self.fast)
        visited = self.visits > 0
        best = progress.amax() if bool(visited.any()) else progress.new_ones(())
        return torch.log(torch.where(visited, progress, best)[cells(next_pose)] + _TINY)

    @torch.no_grad()
    def observe(self, next_pose: Tensor, error: Tensor, seen: Tensor) -> None:
        """Move the running means of the cells of ``next_pose [N, 3]`` towards the mean ``error [N]`` seen there now."""
        del seen
        cell = cells(next_pose)
        count = torch.zeros_like(self.visits).index_add_(0, cell, torch.ones_like(error))
        mean = torch.zeros_like(self.visits).index_add_(0, cell, error) / count.clamp_min(1.0)
        now, known = count > 0, self.visits > 0
        for average, rate in ((self.fast, _FAST), (self.slow, _SLOW)):
            moved = torch.where(known, average + rate * (mean - average), mean)
            average.copy_(torch.where(now, moved, average))
        self.visits += count


def cells(pose: Tensor) -> Tensor:
    """Return the place of ``pose [..., 3]`` among the cells that ``Progress`` keeps."""
    pan = ((pose[..., 0] + 180.0) % 360.0 / 360.0 * _PAN_CELLS).long().clamp(0, _PAN_CELLS - 1)
    tilt = ((pose[..., 1] + 90.0) / 180.0 * _TILT_CELLS).long().clamp(0, _TILT_CELLS - 1)
    zoom = torch.log2(pose[..., 2].clamp_min(1.0)).long().clamp(0, _ZOOM_CELLS - 1)
    return (pan * _TILT_CELLS + tilt) * _ZOOM_CELLS + zoom


JUDGES: dict[str, type[ExpectedError | Disagreement | Progress]] = {
    "error": ExpectedError,
    "gradient": ExpectedError,
    "disagreement": Disagreement,
    "progress": Progress,
}
