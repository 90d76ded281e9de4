"""Inverse dynamics: from two neighbouring embeddings, which move lies between them?

The term that rescues joint embeddings from fixed backgrounds: what the camera moves must be visible in the embedding,
and what never moves cannot answer the question (Sobal et al. 2022; Ivashkov et al., arXiv 2606.20104).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModelConfig, action_features
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout

_HIDDEN = 128


class InverseDynamics(Objective):
    """A small head that reads ``(z_t, z_{t+1})`` and recovers the action: add-on ``idm``."""

    WEIGHTS: ClassVar = {"inverse_dynamics": 0.5}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        self.head = nn.Sequential(nn.Linear(2 * world_model.embedding_size, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 6))

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted mean squared error over ``action_features``."""
        encoded = rollout.encoded
        pairs = torch.cat([encoded[:, :-1], encoded[:, 1:]], dim=-1)
        return self.weigh(inverse_dynamics=F.mse_loss(self.head(pairs).float(), action_features(rollout.actions)))
