"""From an embedding back to a picture, for people: nothing else in the system looks at it."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model.checkpoint import load_tensors, save_tensors
from shared.world_model.features import pose_features

FORMAT = "ptzjepa-decoder-1"
_HARMONICS = (8, 6, 2)
_SMALLEST = 4


class DecoderConfig(BaseModel):
    """Sizes of a decoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: int = Field(ge=1, le=65536)
    image_size: int = Field(default=64, ge=8, le=512, description="side of its pictures, pixels")
    width: int = Field(default=16, ge=8, le=1024, description="channels of the finest stage")


class Decoder(nn.Module):
    """Grows a picture from the embedding (layer-normed) and the pose, twice as large a stage."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        stages = max(1, math.ceil(math.log2(config.image_size / _SMALLEST)))
        widths = [min(4, 2 ** (stages - stage - 1)) * config.width for stage in range(stages)]
        self.entry = nn.Linear(config.embedding_size + 2 * sum(_HARMONICS), widths[0] * _SMALLEST**2)
        pairs = zip(widths, [*widths[1:], config.width], strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU())
            for before, after in pairs
        )
        self.exit = nn.Conv2d(config.width, 3, 3, padding=1)

    def forward(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Map ``embedding [B, D]`` and ``pose [B, 3]`` to pictures ``[B, 3, S, S]`` in [0, 1]."""
        seen = F.layer_norm(embedding, embedding.shape[-1:])
        state: Tensor = self.entry(torch.cat([seen, pose_features(pose, *_HARMONICS)], dim=-1))
        state = state.reshape(len(state), -1, _SMALLEST, _SMALLEST)
        for stage in self.stages:
            state = stage(F.interpolate(state, scale_factor=2.0, mode="nearest"))
        size = self.config.image_size
        return torch.sigmoid(F.interpolate(self.exit(state), size=(size, size), mode="bilinear", align_corners=False))


def save_decoder(decoder: Decoder, card: dict[str, Any]) -> bytes:
    """Pack a decoder with a card that says which world model it belongs to."""
    config = decoder.config.model_dump(mode="json")
    return save_tensors(decoder.state_dict(), {**card, "format": FORMAT, "config": config})


def load_decoder(data: bytes) -> tuple[Decoder, dict[str, Any]]:
    """Build the decoder that ``save_decoder`` packed; returns its card, too. ``ValueError`` says what is wrong."""
    tensors, card = load_tensors(data)
    if card.get("format") != FORMAT:
        raise ValueError(f"format is {card.get('format')!r}, not {FORMAT!r}")
    try:
        decoder = Decoder(DecoderConfig.model_validate(card["config"]))
        decoder.load_state_dict(tensors, strict=True)
    except (KeyError, ValidationError, RuntimeError) as error:
        raise ValueError(f"not a decoder: {' '.join(str(error).split())[:200]}") from error
    return decoder.eval().requires_grad_(False), card
