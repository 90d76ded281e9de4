"""The study's encoder and predictor, as a world model that the camera's objectives can train."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from shared.world_model import Encoding, Prediction, WorldModel, WorldModelConfig
from shared.world_model.predictor import Foreseen
from shared.world_model.surprise import Judge
from world_model_trainer.laboratory.moving_dots.data import SIDE, Dots
from world_model_trainer.objectives import Trajectories

ACTION = 2
_WIDTH = 16


class NetworkConfig(BaseModel):
    """Sizes of encoder and predictor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: int = Field(default=128, ge=8, le=2048)
    width: int = Field(default=1, ge=1, le=8, description="multiplies the encoder's channels")
    layers: int = Field(default=1, ge=1, le=4, description="of the recurrent predictor")
    channels: Literal[1, 3] = Field(default=1, description="pictures that a frame consists of")
    normal_embedding: bool = Field(default=False, description="embeddings are layer-normalised")


class MeNet5(nn.Module):
    """Three convolutions, each with ReLU and batch normalisation in that order, an average, a linear layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        narrow, wide = _WIDTH * config.width, 2 * _WIDTH * config.width
        self.layers = nn.Sequential(
            *_stage(config.channels, narrow, 5, 2),
            *_stage(narrow, wide, 5, 2),
            *_stage(wide, wide, 3, 1),
            nn.AvgPool2d(2),
            nn.Flatten(),
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.summary = nn.Linear(9 * wide, config.embedding_size)

    def forward(self, states: Tensor) -> Encoding:
        """Encode ``states [B, C, 28, 28]``. The features before the last layer stand for one token."""
        features = self.layers(states.contiguous(memory_format=torch.channels_last))
        return Encoding(features.unsqueeze(1), self.summary(features))


def _stage(narrow: int, wide: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, wide, kernel, stride=stride, padding=kernel // 2), nn.ReLU(), nn.BatchNorm2d(wide)]


class Unconcerned(Judge):
    """Expects no surprise: the laboratory asks for none."""

    def forward(self, foreseen: Foreseen, next_pose: Tensor) -> Tensor:
        """Return zeros."""
        del foreseen
        return next_pose.new_zeros(next_pose.shape[:2])


class DotsModel(WorldModel):
    """MeNet5, and a recurrent network whose state is the embedding and whose input is the action.

    It answers to the world model's names, so that the camera's objectives train it as they are; its predictor has no
    use for poses.
    """

    def __init__(self, config: NetworkConfig) -> None:
        nn.Module.__init__(self)  # The camera's networks are not wanted.
        self.sizes = config
        self.config = seen_by_objectives(config)
        self.learnt_by = ""
        self.encoder = MeNet5(config)  # type: ignore[assignment]
        self.recurrence = nn.GRU(ACTION, config.embedding_size, num_layers=config.layers)
        self.judge = Unconcerned()  # type: ignore[assignment]

    def pixels(self, images: Tensor, pose: Tensor | None = None) -> Tensor:
        """Return the states as they are: they are normalised already."""
        del pose
        return images

    def dream(self, embedding: Tensor, actions: Tensor) -> Tensor:
        """Predict open loop from ``embedding [B, D]`` under ``actions [B, T, 2]``: ``[B, T, D]``."""
        begin = embedding.float().unsqueeze(0).expand(self.sizes.layers, -1, -1).contiguous()
        with torch.autocast(embedding.device.type, enabled=False):  # Small errors add up over a rollout.
            found: Tensor = self.recurrence(actions.transpose(0, 1).contiguous(), begin)[0].transpose(0, 1)
        return self.settle(found)

    def rollout_steps(self, embedding: Tensor, poses: Tensor, actions: Tensor) -> list[Prediction]:
        """Return ``dream`` at the frames that ``poses [B, K, 3]`` name after the first (``as_trajectories``)."""
        unconcerned = embedding.new_zeros(len(embedding))
        dreamt = self.dream(embedding, actions)[:, frames_of(poses)[1:] - 1]
        return [Prediction(step, unconcerned) for step in dreamt.unbind(1)]


def seen_by_objectives(config: NetworkConfig) -> WorldModelConfig:
    """Return what objectives need to know of the networks, in the camera's terms."""
    return WorldModelConfig(
        image_size=SIDE,
        embedding_size=config.embedding_size,
        normal_embedding=config.normal_embedding,
        surprise="progress",  # the kind that needs no term of its own
    )


def as_trajectories(batch: Dots, *, apart: bool = False) -> Trajectories:
    """Return a batch as objectives see it: only the first dot's actions; in the poses' place, where and when.

    ``poses [B, K, 3]`` are x, y in pixels and the frame's number. The model looks at the number alone. ``apart``: each
    trajectory is a camera of its own.
    """
    locations = batch.locations[:, batch.frames, 0]
    numbers = batch.frames.to(locations.dtype).view(1, -1, 1).expand(len(batch), -1, 1)
    cameras = torch.arange(len(batch), device=locations.device) if apart else None
    return Trajectories(batch.states, torch.cat([locations, numbers], dim=-1), batch.actions[:, :, 0], cameras)


def frames_of(poses: Tensor) -> Tensor:
    """Return the numbers of the frames ``[K]`` int64 that ``as_trajectories`` noted in ``poses [B, K, 3]``."""
    return poses[0, :, 2].long()
