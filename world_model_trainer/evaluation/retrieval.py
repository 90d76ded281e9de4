"""Next-view retrieval: is the true next view the nearest to the predicted embedding among views of the same scene?

Hits at rank 1 and 5 and the mean reciprocal rank, as in the structured world models of Kipf et al. 2020 (C-SWM).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Share of queries whose true view is first, among the first five, and the mean of 1 / rank."""

    h1: float
    h5: float
    mrr: float


def ranks(queries: Tensor, views: Tensor) -> Ranks:
    """Rank ``views [N, D]`` by distance from each of ``queries [N, D]``; the true view of query i is view i.

    Views at the same distance count before the true one, so that constant embeddings find nothing.
    """
    distance = torch.cdist(queries.double(), views.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return _summary(distance, distance.diagonal())


def ranks_among(queries: Tensor, true: Tensor, others: Tensor) -> Ranks:
    """As ``ranks``, with candidates of each query's own: ``true [N, D]`` against ``others [N, K, D]``."""
    near = (queries - true).double().norm(dim=-1)
    far = (queries.unsqueeze(1) - others).double().norm(dim=-1)
    return _summary(torch.cat([near.unsqueeze(1), far], dim=1), near)


def _summary(distance: Tensor, true: Tensor) -> Ranks:
    rank = (distance <= true.unsqueeze(1)).sum(dim=1).double()
    return Ranks(
        h1=float((rank <= 1).double().mean()),
        h5=float((rank <= 5).double().mean()),
        mrr=float(rank.reciprocal().mean()),
    )
