"""Small networks of the ``ptzjepa`` kind."""

from __future__ import annotations

from typing import Any

from shared.world_model import WorldModelConfig

TOKENS: dict[str, Any] = {
    "image_size": 32,
    "encoder": "vit",
    "predictor": "tokens",
    "patch_size": 8,
    "encoder_width": 24,
    "encoder_depth": 2,
    "encoder_heads": 3,
    "embedding_size": 16,
    "hidden_size": 48,
    "blocks": 2,
    "pairs": True,
}


def tokens_config(**changes: Any) -> WorldModelConfig:
    """Return a vision transformer of 4 × 4 tokens with a token predictor."""
    return WorldModelConfig(**{**TOKENS, **changes})
