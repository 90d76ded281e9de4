"""From an embedding and a move to the next embedding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model.config import WorldModelConfig
from shared.world_model.features import action_features, move_size, pose_features
from shared.world_model.transformer import Block, grid_positions, initialise


class Foreseen(NamedTuple):
    """A prediction and what a judge of it may know.

    ``start [B, Q, D]`` before the move and ``embedding [B, Q, D]`` after it; ``size [B, Q]``: 0 no move, 1 far;
    ``evidence [B, Q, E]`` without gradient: whoever judges a prediction must not bend it towards being easy to judge.
    ``tokens [B, Q, K, C]``: layer-normalised, at the places that were asked for; None where nobody asked.
    """

    start: Tensor
    embedding: Tensor
    size: Tensor
    evidence: Tensor
    tokens: Tensor | None = None


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
        """Map ``state [..., H]`` under ``condition [..., C]`` to ``[..., H]``."""
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        inner = F.layer_norm(state, state.shape[-1:]) * (1.0 + scale) + shift
        change: Tensor = gate * self.fall(F.silu(self.rise(inner)))
        return state + change


class Predictor(nn.Module):
    """Predicts the change of the embedding under moves.

    Untrained it predicts no change, so it starts as copy-last and can only learn away from it. However it is trained,
    no move means no change: the change grows with the size of the move, as the group of rotations has it.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self._harmonics = config.harmonics
        hidden = config.hidden_size
        self.condition = _condition(config)
        self.entry = nn.Linear(config.embedding_size + hidden, hidden)
        self.blocks = nn.ModuleList(ConditionedBlock(hidden, hidden) for _ in range(config.blocks))
        self.change = nn.Linear(hidden, config.embedding_size)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(
        self,
        embedding: Tensor,
        pose: Tensor,
        action: Tensor,
        next_pose: Tensor,
        tokens: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Foreseen:
        """Foresee ``Q`` moves from each of ``B`` views; ``tokens`` are neither looked at nor foreseen.

        ``embedding [B, D]``; ``pose [B, 3]``: degrees, degrees, magnification; ``action`` and ``next_pose [B, Q, 3]``.
        """
        del tokens, places
        pose = pose.unsqueeze(1).expand_as(next_pose)
        start = embedding.unsqueeze(1).expand(-1, next_pose.shape[1], -1)
        condition = self.condition(_move_features(pose, action, next_pose, self._harmonics))
        state = self.entry(torch.cat([start, condition], dim=-1))
        for block in self.blocks:
            state = block(state, condition)
        return _foreseen(start, state, condition, move_size(pose, next_pose), self.change)


class TokenPredictor(nn.Module):
    """A transformer that reads a view's embedding and, where it is given, its spatial map, and foresees both.

    PTZJEPA's predictor at its size (12 × 384) with two differences. Each token that is asked for is a query with its
    own position (PTZJEPA's 256 queries were equal, and so were its 256 answers), and poses come as harmonics of angles.
    Queries read the view and do not change it, so each view is read once, whatever the number of moves from it.
    """

    positions: Tensor

    def __init__(self, config: WorldModelConfig, *, tokens: int, token_width: int) -> None:
        super().__init__()
        self._harmonics = config.harmonics
        hidden = config.hidden_size
        self.summary_entry = nn.Linear(config.embedding_size, hidden)
        self.token_entry = nn.Linear(token_width, hidden)
        self.register_buffer("positions", grid_positions(tokens, hidden), persistent=False)
        self.blocks = nn.ModuleList(Block(hidden, config.predictor_heads) for _ in range(config.blocks))
        initialise(self)
        # Drawn as small as the layers above, poses and moves would vanish beside the positions.
        self.condition = _condition(config)
        self.place = nn.Linear(2 * sum(self._harmonics), hidden)
        self.change, self.token_change = (nn.Linear(hidden, size) for size in (config.embedding_size, token_width))
        for change in (self.change, self.token_change):
            nn.init.zeros_(change.weight)
            nn.init.zeros_(change.bias)

    def forward(
        self,
        embedding: Tensor,
        pose: Tensor,
        action: Tensor,
        next_pose: Tensor,
        tokens: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Foreseen:
        """Foresee ``Q`` moves from each of ``B`` views.

        ``embedding [B, D]``; ``pose [B, 3]``: degrees, degrees, magnification; ``action`` and ``next_pose [B, Q, 3]``;
        ``tokens [B, N, C]``: the view's spatial map, None where there is but the embedding, as in dreams;
        ``places [K]``: which of the next view's tokens to foresee, from the tokens of this view.
        """
        memory = self.summary_entry(embedding).unsqueeze(1)
        if tokens is not None:
            memory = torch.cat([memory, self.token_entry(tokens) + self.positions], dim=1)
        memory = memory + self.place(pose_features(pose, *self._harmonics)).unsqueeze(1)
        pose = pose.unsqueeze(1).expand_as(next_pose)
        condition = self.condition(_move_features(pose, action, next_pose, self._harmonics))
        moves = condition.shape[1]
        parts = [memory, condition]
        if places is not None:
            parts.append((condition.unsqueeze(2) + self.positions[places]).flatten(1, 2))
        states, remembered = torch.cat(parts, dim=1), memory.shape[1]
        for number, block in enumerate(self.blocks, start=1):
            states = block(states, remembered, last=number == len(self.blocks))
        start = embedding.unsqueeze(1).expand(-1, moves, -1)
        foreseen = _foreseen(start, states[:, :moves], condition, move_size(pose, next_pose), self.change)
        if tokens is None or places is None:
            return foreseen
        change = self.token_change(F.layer_norm(states[:, moves:], states.shape[-1:]))
        change = change.reshape(*condition.shape[:2], len(places), -1)
        return foreseen._replace(tokens=copied_tokens(tokens, places) + foreseen.size[..., None, None] * change)


def normal_tokens(tokens: Tensor) -> Tensor:
    """Layer-normalise ``tokens [..., C]``: what is foreseen of a spatial map. Nothing is gained by making it small."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:])


def copied_tokens(tokens: Tensor, places: Tensor) -> Tensor:
    """Return what no move foresees of ``tokens [B, N, C]`` at ``places [K]``: the same, ``[B, 1, K, C]``.

    Without gradient: else the error would teach the encoder to make neighbouring views' maps alike.
    """
    return normal_tokens(tokens[:, places]).detach().unsqueeze(1)


def _condition(config: WorldModelConfig) -> nn.Sequential:
    hidden = config.hidden_size
    features = 4 * sum(config.harmonics) + 6
    return nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())


def _move_features(pose: Tensor, action: Tensor, next_pose: Tensor, harmonics: tuple[int, int, int]) -> Tensor:
    before, after = (pose_features(each, *harmonics) for each in (pose, next_pose))
    return torch.cat([before, after, action_features(action)], dim=-1)


def _foreseen(start: Tensor, state: Tensor, condition: Tensor, distance: Tensor, change: nn.Linear) -> Foreseen:
    normal = F.layer_norm(state, state.shape[-1:])
    size = 1.0 - torch.exp(-distance)
    evidence = torch.cat([normal, condition], dim=-1).detach()
    return Foreseen(start, start + size.unsqueeze(-1) * change(normal), size, evidence)
