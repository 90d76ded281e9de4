"""From an embedding and a move to the next embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model.config import WorldModelConfig
from shared.world_model.features import action_features, move_size, pose_features


class ConditionedBlock(nn.Module):
    """A residual MLP block whose normalisation is shifted, scaled and gated by the condition (AdaLN-zero).

    Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023. The gate starts at zero: a new block changes
    nothing.
    """

    def __init__(self, hidden: int, condition: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(condition, 3 * hidden)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.rise = nn.Linear(hidden, 2 * hidden)
        self.fall = nn.Linear(2 * hidden, hidden)

    def forward(self, state: Tensor, condition: Tensor) -> Tensor:
        """Map ``state [B, H]`` under ``condition [B, C]`` to ``[B, H]``."""
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        inner = F.layer_norm(state, state.shape[-1:]) * (1.0 + scale) + shift
        change: Tensor = gate * self.fall(F.silu(self.rise(inner)))
        return state + change


class Predictor(nn.Module):
    """Predicts the change of the embedding under a move, and how wrong that prediction will be.

    Untrained it predicts no change, so it starts as copy-last and can only learn away from it. However it is trained,
    no move means no change: the change grows with the size of the move, as the group of rotations has it.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self._harmonics = (config.pan_harmonics, config.tilt_harmonics, config.zoom_harmonics)
        features = 4 * sum(self._harmonics) + 6
        hidden = config.hidden_size
        self.condition = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.entry = nn.Linear(config.embedding_size + hidden, hidden)
        self.blocks = nn.ModuleList(ConditionedBlock(hidden, hidden) for _ in range(config.blocks))
        self.change = nn.Linear(hidden, config.embedding_size)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.log_error = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def forward(self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next embedding ``[B, D]`` and the logarithm of its expected squared error ``[B]``.

        ``embedding [B, D]``; ``pose`` and ``next_pose [B, 3]``: degrees, degrees, magnification; ``action [B, 3]``.
        """
        before, after = (pose_features(each, *self._harmonics) for each in (pose, next_pose))
        condition = self.condition(torch.cat([before, after, action_features(action)], dim=-1))
        state = self.entry(torch.cat([embedding, condition], dim=-1))
        for block in self.blocks:
            state = block(state, condition)
        # The surprise head watches; it must not bend what it watches towards being easy to judge.
        judged = torch.cat([F.layer_norm(state, state.shape[-1:]), condition], dim=-1).detach()
        size = 1.0 - torch.exp(-move_size(pose, next_pose))
        change = size.unsqueeze(-1) * self.change(F.layer_norm(state, state.shape[-1:]))
        return embedding + change, self.log_error(judged).squeeze(-1)
