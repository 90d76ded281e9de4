"""Settings of the world-model trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """What the trainer needs beyond the common settings."""

    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    processes: int = Field(
        default=1, ge=1, le=64, description="processes that share each batch, one a GPU where there are GPUs"
    )
    commit_seconds: float = Field(default=60.0, gt=0.0, description="a new checkpoint this often, if it has learnt")
    lease_ttl_ms: int = Field(default=30_000, ge=1_000, le=600_000, description="life of the model's lease")
    replay: Path = Field(
        default=Path("runs/replay"), description="directory of the views to learn from and of the training state"
    )
    replay_views: int = Field(default=50_000, ge=512, le=10_000_000, description="most views kept in the replay")
    replay_bytes: int = Field(default=2**30, ge=2**20, description="most bytes of its file")
    min_views: int = Field(default=64, ge=8, description="views before the first training step")
    replay_ratio: float = Field(
        default=128.0, gt=0.0, description="views trained on per view that came in: idle rather than learn few by heart"
    )
    micro_batches: int = Field(default=1, ge=1, le=64, description="parts that a batch is computed in, to save memory")
    learning_rate: float = Field(default=3e-3, gt=0.0, lt=1.0, description="of the optimiser, after the warm-up")
    schedule_steps: int = Field(
        default=20_000,
        ge=0,
        description="steps of a world model's life until its learning rate is at its floor; 0: never",
    )
    learning_rate_floor: float = Field(default=0.1, gt=0.0, le=1.0, description="share of the learning rate left then")
    state_seconds: float = Field(
        default=30.0, gt=0.0, description="seconds between training states; a kill loses these"
    )
    plateau_commits: int = Field(default=20, ge=2, description="commits without improvement that make a plateau")
    plateau_improvement: float = Field(
        default=0.01, ge=0.0, lt=1.0, description="least share by which the held-out error ratio must fall meanwhile"
    )
    plateau_rise: float = Field(default=0.1, gt=0.0, description="share by which errors rise that ends a plateau")
    plateau_pace: float = Field(default=0.1, gt=0.0, le=1.0, description="share of the time that trains on a plateau")
    keep_last: int = Field(default=20, ge=1, description="newest versions kept in the model store")
    keep_best: int = Field(default=1, ge=0, description="versions with the lowest error ratio kept besides")
    preset: str = Field(default="tiny", description="networks of a new world model: tiny, small or ptzjepa")
    objective: str = Field(
        default="vicreg+idm+pose",
        description="vicreg, sigreg, ema, simclr, rssm, random or prediction; add-ons: +idm, +pose, +motion",
    )
    objective_weights: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description='weights of its terms by name, where not its own: {"pose": 2}'
    )
    surprise: str = Field(
        default="disagreement", description="of a new world model: disagreement, error, progress or gradient"
    )
    image_size: int | None = Field(
        default=None, ge=16, le=512, description="side of a new world model's views, pixels; not set: the preset's"
    )
