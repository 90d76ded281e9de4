"""Inverse dynamics: from two neighbouring embeddings, which move lies between them?

The term that rescues joint embeddings from fixed backgrounds: what the camera moves must be visible in the embedding,
and what never moves cannot answer the question (Sobal et al. 2022; Ivashkov et al., arXiv 2606.20104).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import action_features


class InverseDynamics(nn.Module):
    """A small head that reads ``(z_t, z_{t+1})`` and recovers the action."""

    def __init__(self, embedding_size: int, hidden: int = 128) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(2 * embedding_size, hidden), nn.SiLU(), nn.Linear(hidden, 6))

    def forward(self, encoded: Tensor, actions: Tensor) -> Tensor:
        """Return the mean squared error over ``action_features``. ``encoded [B, T+1, D]``, ``actions [B, T, 3]``."""
        pairs = torch.cat([encoded[:, :-1], encoded[:, 1:]], dim=-1)
        return F.mse_loss(self.head(pairs).float(), action_features(actions))
