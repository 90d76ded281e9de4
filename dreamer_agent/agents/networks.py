"""What every learning agent is made of: what it sees, and how many layers look at that."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, cat, nn
from torch.nn import functional as F

from shared.world_model import pose_features

_HARMONICS = (1, 1, 1)
"""Of pan, tilt and log zoom: the direction, and no more. Finer ones would tell where the camera is without a look at
what it sees."""
_POSE_FEATURES = 2 * sum(_HARMONICS)


class AgentConfig(BaseModel):
    """What every agent with a checkpoint has; it travels in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: int = Field(ge=1, le=65536)
    actions: int = Field(ge=2, le=65536)


class LearnerConfig(AgentConfig):
    """What every agent with networks has besides."""

    hidden_size: int = Field(default=128, ge=1, le=8192)
    layers: int = Field(default=2, ge=1, le=16)
    discount: float = Field(default=0.97, gt=0.0, lt=1.0)
    unimix: float = Field(default=0.01, ge=0.0, lt=1.0, description="share of probability spread over all actions")
    pose_hidden: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="share of dreams in which what steers learns without the pose, so that it has to look",
    )
    policy_rate: float = Field(default=1e-3, gt=0.0)
    gradient_norm: float = Field(default=1.0, gt=0.0)


def features(embedding: Tensor, pose: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Return ``[..., D + 6]``: the embedding, layer-normed, and Fourier features of the pose unless ``hidden``."""
    normed, direction = F.layer_norm(embedding, embedding.shape[-1:]), pose_features(pose, *_HARMONICS)
    if hidden is not None:
        direction = direction.masked_fill(hidden, 0.0)
    return cat([normed, direction], dim=-1)


def network(config: LearnerConfig, outputs: int) -> nn.Sequential:
    """Return a network from features to ``outputs`` numbers, all zero until it has learnt."""
    layers: list[nn.Module] = []
    width = config.embedding_size + _POSE_FEATURES
    for _ in range(config.layers):
        layers += [nn.Linear(width, config.hidden_size), nn.LayerNorm(config.hidden_size), nn.SiLU()]
        width = config.hidden_size
    head = nn.Linear(width, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, head)
