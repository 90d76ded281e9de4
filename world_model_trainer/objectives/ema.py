"""Prediction of a slow copy of the encoder, which gets no gradient.

Assran et al., I-JEPA, CVPR 2023; Bardes et al., V-JEPA, 2024. The target is the layer-normalised output of an
exponential moving average of the encoder, θ' ← m θ' + (1 − m) θ after every step, with m rising linearly. The error
is SmoothL1. Nothing here repels collapse but the slowness of the target: use it with ``idm``.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import Encoding, WorldModel, WorldModelConfig
from shared.world_model.transformer import Block, grid_positions, initialise
from world_model_trainer.objectives.base import Objective, ObjectiveConfig, Rollout, Trajectories, roll_out
from world_model_trainer.objectives.masking import blank, draw_masks
from world_model_trainer.objectives.prediction import off_diagonal

_MASK_WIDTH, _MASK_DEPTH, _MASK_HEADS = 96, 2, 3


class Ema(Objective):
    """``L = SmoothL1(ẑ, LN(z'))``; with masking also SmoothL1 of masked tokens, predicted from the rest of the view."""

    WEIGHTS: ClassVar = {"prediction": 1.0, "masked": 1.0}
    NEEDS: ClassVar = {"normal_embedding": True}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        self.target: nn.Module | None = None
        self.fill_in: MaskedTokens | None = None
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    steps: Tensor

    @property
    def momentum(self) -> float:
        """How much of the target stays at the next step."""
        first, last = self.config.momentum
        return first + (last - first) * min(1.0, int(self.steps) / self.config.momentum_steps)

    def attach(self, model: WorldModel) -> None:
        """Copy the encoder. A frozen network inside it is shared, not copied: it never changes."""
        shared = {id(weight): weight for weight in model.encoder.parameters() if not weight.requires_grad}
        self.target = copy.deepcopy(model.encoder, shared).requires_grad_(False)
        if self.config.masking:
            self.fill_in = MaskedTokens(model.encoder.tokens, model.encoder.token_width)

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Add the targets, and the masked tokens beside their predictions."""
        rollout = roll_out(model, batch)
        images, poses = batch.images.flatten(0, 1), batch.poses.flatten(0, 1)
        target = self._look(model, images, poses)
        if rollout.maps is not None:
            seen = _normal(target.tokens[:, rollout.maps.places]).reshape(rollout.maps.seen.shape)
            rollout = dataclasses.replace(rollout, maps=dataclasses.replace(rollout.maps, seen=seen))
        extra = {"target": _normal(target.embedding).reshape(rollout.encoded.shape)}
        if self.fill_in is not None:
            masks = draw_masks(self.fill_in.side)
            rest = model.encode(blank(images, masks.context), poses).tokens
            extra["masked"] = self.fill_in(rest, masks.context.to(rest.device), masks.target.to(rest.device)).float()
            extra["masked_target"] = _normal(target.tokens)[:, masks.target.flatten().to(rest.device)]
        return dataclasses.replace(rollout, extra=extra)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        target = rollout.extra["target"]
        prediction = F.smooth_l1_loss(rollout.predicted, target[:, 1:])
        if rollout.pairs is not None:
            errors = F.smooth_l1_loss(rollout.pairs, target.unsqueeze(1).expand_as(rollout.pairs), reduction="none")
            prediction = 0.5 * (prediction + off_diagonal(errors.mean(dim=-1)).mean())
        terms = {"prediction": prediction}
        if "masked" in rollout.extra:
            terms["masked"] = F.smooth_l1_loss(rollout.extra["masked"], rollout.extra["masked_target"])
        return self.weigh(**terms)

    @torch.no_grad()
    def after_step(self, model: WorldModel, rollout: Rollout) -> None:
        """Move the target towards the encoder."""
        del rollout
        momentum = self.momentum
        for slow, fast in zip(self._copy.parameters(), model.encoder.parameters(), strict=True):
            if slow is not fast:
                slow.lerp_(fast, 1.0 - momentum)
        self.steps += 1

    @property
    def _copy(self) -> nn.Module:
        if self.target is None:
            raise RuntimeError("the objective was not attached to a world model")
        return self.target

    @torch.no_grad()
    def _look(self, model: WorldModel, images: Tensor, poses: Tensor) -> Encoding:
        encoding: Encoding = self._copy(model.pixels(images, poses))
        return encoding


class MaskedTokens(nn.Module):
    """Predicts a view's target tokens from its context tokens and the places of both: a narrow transformer."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.side = math.isqrt(tokens)
        if self.side**2 != tokens:
            raise ValueError(f"masking needs a square map of tokens, and {tokens} tokens are none")
        self.entry, self.exit = nn.Linear(width, _MASK_WIDTH), nn.Linear(_MASK_WIDTH, width)
        self.unknown = nn.Parameter(torch.zeros(_MASK_WIDTH))
        self.blocks = nn.ModuleList(Block(_MASK_WIDTH, _MASK_HEADS) for _ in range(_MASK_DEPTH))
        self.register_buffer("positions", grid_positions(tokens, _MASK_WIDTH), persistent=False)
        initialise(self)

    positions: Tensor

    def forward(self, tokens: Tensor, context: Tensor, target: Tensor) -> Tensor:
        """Map ``tokens [B, N, C]`` under ``context`` and ``target [side, side]`` to ``[B, targets, C]``."""
        context, target = context.flatten(), target.flatten()
        known = self.entry(tokens[:, context]) + self.positions[context]
        asked = (self.unknown + self.positions[target]).expand(len(tokens), -1, -1)
        states = torch.cat([known, asked], dim=1)
        for block in self.blocks:
            states = block(states)
        out: Tensor = self.exit(states[:, known.shape[1] :])
        return out


def _normal(states: Tensor) -> Tensor:
    return F.layer_norm(states.float(), states.shape[-1:])
