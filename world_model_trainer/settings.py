"""Settings of the world-model trainer."""

from __future__ import annotations

from pydantic import Field

from shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """What the trainer needs beyond the common settings."""

    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    commit_seconds: float = Field(default=60.0, gt=0.0, description="a new checkpoint this often, if it has learnt")
    lease_ttl_ms: int = Field(default=30_000, ge=1_000, le=600_000, description="life of the model's lease")
    replay_views: int = Field(default=6000, ge=64, le=1_000_000, description="views kept in memory to learn from")
    min_views: int = Field(default=64, ge=8, description="views before the first training step")
    replay_ratio: float = Field(
        default=128.0, gt=0.0, description="views trained on per view that came in: idle rather than learn few by heart"
    )
    keep_last: int = Field(default=20, ge=1, description="newest versions kept in the model store")
    keep_best: int = Field(default=1, ge=0, description="versions with the lowest error ratio kept besides")
    image_size: int = Field(default=64, ge=16, le=512, multiple_of=16, description="side of the views, pixels")
