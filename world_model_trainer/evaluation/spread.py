"""Collapse alarms: how many dimensions the embeddings use, and what for.

They are alarms only: an untrained encoder and one that has latched on to a fixed background can score high ranks. The
ratio of variance within walks to that between walks tells those apart (facts of the moving dots: .5 when it works,
.002 when it latched on).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-12


def entropy_rank(matrix: Tensor) -> float:
    """Return ``exp(−Σ p log p)`` with p the singular values of ``matrix [N, D]`` over their sum."""
    singular = torch.linalg.svdvals(matrix.double())
    share = singular / singular.sum().clamp_min(_TINY)
    return float(torch.exp(-(share * (share + _TINY).log()).sum()))


def effective_rank(embeddings: Tensor) -> float:
    """Effective rank of the centred ``embeddings [N, D]`` (Roy and Vetterli, EUSIPCO 2007)."""
    return entropy_rank(embeddings - embeddings.mean(dim=0))


def rank_me(embeddings: Tensor) -> float:
    """RankMe (Garrido et al., ICML 2023): the same of the embeddings as they are, so that an offset counts."""
    return entropy_rank(embeddings)


def deviation(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of every dimension of ``embeddings [N, D]``: ``[D]``."""
    return embeddings.std(dim=0)


def within_between(walks: Tensor) -> float:
    """Return the variance within walks over that between their means, summed over dimensions. ``walks [B, T+1, D]``."""
    means = walks.mean(dim=1)
    within = (walks - means.unsqueeze(1)).square().mean()
    between = (means - means.mean(dim=0)).square().mean()
    return float(within / between.clamp_min(_TINY))


def mean_distance(embeddings: Tensor, most: int = 1000) -> float:
    """Return the mean Euclidean distance between pairs of the first ``most`` of ``embeddings [N, D]``."""
    return float(torch.pdist(embeddings[:most]).mean())
