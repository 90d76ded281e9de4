"""From pixels to an embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig

CONTRAST_FLOOR = 0.02
"""Of full scale: contrast below this is not stretched."""


@dataclass(frozen=True)
class Encoding:
    """What the encoder makes of a view: the spatial map ``tokens [B, N, C]``, and its summary ``embedding [B, D]``."""

    tokens: Tensor
    embedding: Tensor


def normalise_light(images: Tensor) -> Tensor:
    """Give every picture of ``[B, 3, S, S]`` zero mean and unit contrast by itself.

    A camera works from noon to dusk; without this, views of one place by another light look like another place. The
    floor keeps the noise of a night sky from becoming its picture.
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = images.std(dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (contrast + CONTRAST_FLOOR)


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
        feature_map = self.stages(normalise_light(images))
        return Encoding(feature_map.flatten(2).transpose(1, 2), self.summary(feature_map.flatten(1)))
