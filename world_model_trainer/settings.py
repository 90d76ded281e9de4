"""Settings of the world-model trainer."""

from __future__ import annotations

from typing import Annotated

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
    preset: str = Field(default="tiny", description="networks of a new world model: tiny, small or ptzjepa")
    objective: str = Field(
        default="vicreg+idm+pose",
        description="vicreg, sigreg, ema, simclr, rssm, random or prediction; add-ons: +idm, +pose",
    )
    objective_weights: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description='weights of its terms by name, where not its own: {"pose": 2}'
    )
    surprise: str = Field(
        default="error", description="of a new world model: error, disagreement, progress or gradient"
    )
    image_size: int | None = Field(
        default=None, ge=16, le=512, description="side of a new world model's views, pixels; not set: the preset's"
    )
