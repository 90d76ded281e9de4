"""Variance and covariance: the terms that keep embeddings from collapsing.

Bardes, Ponce and LeCun, "VICReg", ICLR 2022; over trajectories as in Sobal et al., "Joint Embedding Predictive
Architectures Focus on Slow Features", 2022: statistics are taken over the batch, at each time step by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-4


def variance_term(embeddings: Tensor) -> Tensor:
    """Hinge that is zero once every dimension's standard deviation over the batch is one. ``embeddings [B, T, D]``."""
    deviation = torch.sqrt(embeddings.var(dim=0) + _EPSILON)
    return torch.relu(1.0 - deviation).mean()


def covariance_term(embeddings: Tensor) -> Tensor:
    """Sum of squared covariances of different dimensions over D, mean over time. ``embeddings [B, T, D]``."""
    batch, _, dimensions = embeddings.shape
    centred = (embeddings - embeddings.mean(dim=0)).transpose(0, 1)
    covariance = centred.transpose(1, 2) @ centred / (batch - 1)
    squared = covariance.square()
    off_diagonal = squared.sum(dim=(1, 2)) - squared.diagonal(dim1=1, dim2=2).sum(dim=1)
    return (off_diagonal / dimensions).mean()
