"""What defines a world model's networks: enough to build them again from a checkpoint."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class WorldModelConfig(BaseModel):
    """Sizes of encoder and predictor. The defaults are the ``tiny`` preset: for CPUs and Jetsons."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=64, ge=16, le=512, multiple_of=16, description="side of the square view, pixels")
    widths: tuple[int, ...] = Field(default=(16, 32, 64, 128), min_length=2, max_length=6, description="one per stage")
    embedding_size: int = Field(default=128, ge=8, le=4096)
    hidden_size: int = Field(default=224, ge=8, le=4096, description="width of the predictor")
    blocks: int = Field(default=2, ge=1, le=32, description="depth of the predictor")
    pan_harmonics: int = Field(default=8, ge=1, le=64)
    tilt_harmonics: int = Field(default=6, ge=1, le=64)
    zoom_harmonics: int = Field(default=2, ge=1, le=16)
