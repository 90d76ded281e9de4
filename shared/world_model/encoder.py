"""From pixels to an embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig

CONTRAST_FLOOR = 0.02
"""Of full scale: contrast below this is not stretched."""
_TOP_ZOOM = 32.0
_MOST_TOKENS_A_SIDE = 16
"""The spatial map is that of the first stage with so few: fine enough to show a small turn, few enough to compare."""


@dataclass(frozen=True)
class Encoding:
    """What the encoder makes of a view: the spatial map ``tokens [B, N, C]``, and its summary ``embedding [B, D]``."""

    tokens: Tensor
    embedding: Tensor


def normalise_light(images: Tensor) -> Tensor:
    """Give every picture of ``[B, 3, S, S]``, uint8 or floats in [0, 1], zero mean and unit contrast by itself.

    A camera works from noon to dusk; without this, views of one place by another light look like another place. The
    floor keeps the noise of a night sky from becoming its picture.
    """
    full_scale = 255.0 if images.dtype == torch.uint8 else 1.0
    pixels = images.flatten(1).float()
    centred = pixels - pixels.mean(dim=1, keepdim=True)
    # The norm is several times faster than torch's deviation, which took a seventh of a training step.
    contrast = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(pixels.shape[1] - 1)
    normal: Tensor = centred * (contrast + full_scale * CONTRAST_FLOOR).reciprocal()
    return normal.view(images.shape)


def as_floats(images: Tensor) -> Tensor:
    """Return ``images``, uint8 or floats in [0, 1], as floats in [0, 1]."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def add_zoom_plane(images: Tensor, pose: Tensor) -> Tensor:
    """Append log zoom, 0 at 1 × and 1 at 32 ×, to ``images [B, 3, S, S]`` as a constant plane. ``pose [B, 3]``."""
    zoom = torch.log(pose[:, 2].clamp_min(1.0)) / math.log(_TOP_ZOOM)
    plane = zoom.to(images.dtype).reshape(-1, 1, 1, 1).expand(-1, 1, *images.shape[2:])
    return torch.cat([images, plane], dim=1)


class ConvEncoder(nn.Module):
    """A strided convolution per stage (GroupNorm, SiLU), then a summary of the whole last map.

    That map is flattened, not averaged: where things are in the view is what a camera's geometry is about. Tokens are
    the map of an earlier, finer stage.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        stages: list[nn.Sequential] = []
        channels, side = config.channels, config.image_size
        self.token_stage = 0
        for width in config.widths:
            convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1)
            stages.append(nn.Sequential(convolution, nn.GroupNorm(8, width), nn.SiLU()))
            channels, side = width, (side + 1) // 2
            if not self.token_stage and (side <= _MOST_TOKENS_A_SIDE or len(stages) == len(config.widths)):
                self.token_stage, self.tokens, self.token_width = len(stages), side * side, width
        self.stages = nn.ModuleList(stages)
        self.summary = _summary(channels * side * side, config.summary_hidden, config.embedding_size)

    def forward(self, pixels: Tensor) -> Encoding:
        """Encode ``pixels [B, C, S, S]``: pictures of normalised light, with the plane of zoom if it is in use."""
        feature_map = tokens = pixels
        for number, stage in enumerate(self.stages, start=1):
            feature_map = stage(feature_map)
            if number == self.token_stage:
                tokens = feature_map
        return Encoding(tokens.flatten(2).transpose(1, 2), self.summary(feature_map.flatten(1)))


def _summary(size: int, hidden: int, embedding_size: int) -> nn.Module:
    """Return the way from a flattened map to the embedding; its hidden layer makes angles linear in the embedding."""
    if not hidden:
        return nn.Linear(size, embedding_size)
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, embedding_size))
