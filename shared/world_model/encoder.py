"""From pixels to an embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig


@dataclass(frozen=True)
class Encoding:
    """What the encoder makes of a view: the spatial map ``tokens [B, N, C]``, and its summary ``embedding [B, D]``."""

    tokens: Tensor
    embedding: Tensor


class ConvEncoder(nn.Module):
    """A strided convolution per stage (GroupNorm, SiLU), then one linear layer over the whole map.

    The map is flattened, not averaged: where things are in the view is what a camera's geometry is about.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            stages += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            channels = width
        self.stages = nn.Sequential(*stages)
        side = config.image_size
        for _ in config.widths:
            side = (side + 1) // 2
        self.summary = nn.Linear(channels * side * side, config.embedding_size)

    def forward(self, images: Tensor) -> Encoding:
        """Encode ``images [B, 3, S, S]``, uint8 or floats in [0, 1]."""
        if images.dtype == torch.uint8:
            images = images.float().div_(255.0)
        feature_map = self.stages((images - 0.45) * 4.0)
        return Encoding(feature_map.flatten(2).transpose(1, 2), self.summary(feature_map.flatten(1)))
