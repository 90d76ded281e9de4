"""Worlds in which the answer is known: pictures that spell their pose, and models that read it, or nothing."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ptzjepa.world_model import walking
from shared.world_model import WorldModel, WorldModelConfig
from shared.world_model.encoder import Encoding
from shared.world_model.model import Prediction
from world_model_trainer.evaluation import Place, Views, Walks
from world_model_trainer.evaluation.angles import pose_targets
from world_model_trainer.evaluation.loops import turn

SIZE = 16
CONFIG = WorldModelConfig(image_size=SIZE, widths=(8, 16), embedding_size=8, hidden_size=16, blocks=1)
_SPAN = torch.tensor([1.0, 1.0, 90.0, math.log(4.0)])


def embeddings(poses: Tensor) -> Tensor:
    """Where a model that knows the geometry puts ``poses [N, 3]``: sine, cosine, tilt, log zoom, each within ±1."""
    return torch.nn.functional.pad(pose_targets(poses) / _SPAN, (0, CONFIG.embedding_size - 4))


def spell(poses: Tensor) -> Tensor:
    """Return pictures ``[N, 3, SIZE, SIZE]`` uint8 whose every row spells the pose in sixteen bits a number."""
    numbers = ((embeddings(poses)[:, :4].double() + 1.0) / 2.0 * 65535.0).round().long().clamp(0, 65535)
    pairs = torch.stack([numbers // 256, numbers % 256], dim=2).flatten(1).to(torch.uint8)
    return pairs.repeat(1, SIZE // 8)[:, None, None, :].expand(-1, 3, SIZE, -1).contiguous()


def read(images: Tensor, row: int = 0) -> Tensor:
    """Undo ``spell`` by one row of the pictures."""
    high, low = images[:, 0, row, 0:8:2].double(), images[:, 0, row, 1:8:2].double()
    numbers = ((256.0 * high + low) / 65535.0 * 2.0 - 1.0).float()
    return torch.nn.functional.pad(numbers, (0, CONFIG.embedding_size - 4))


class Knowing(WorldModel):
    """Reads the pose off the picture and predicts exactly; ``drift [D]`` is added with every move."""

    def __init__(self, *, row: int = 0, drift: float = 0.0) -> None:
        super().__init__(CONFIG)
        self.row, self.drift = row, drift

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Encoding:
        embedding = read(images, self.row)
        return Encoding(embedding[:, None, :], embedding)

    def predict(
        self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor, tokens: Tensor | None = None
    ) -> Prediction:
        known = embedding + embeddings(next_pose) - embeddings(pose) + self.drift
        return Prediction(known, torch.zeros(len(pose)))


class Constant(Knowing):
    """Collapsed: one embedding for everything."""

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Encoding:
        embedding = torch.full((len(images), CONFIG.embedding_size), 0.5)
        return Encoding(embedding[:, None, :], embedding)

    def predict(
        self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor, tokens: Tensor | None = None
    ) -> Prediction:
        return Prediction(embedding, torch.zeros(len(pose)))


def views(poses: Tensor) -> Views:
    return Views(spell(poses), poses, torch.zeros(len(poses), dtype=torch.float64))


def walks_of(poses: Tensor, actions: Tensor) -> Walks:
    images = spell(poses.flatten(0, 1)).reshape(*poses.shape[:2], 3, SIZE, SIZE)
    return Walks(images, poses, actions, torch.zeros(poses.shape[:2], dtype=torch.float64))


def spelt_place(*, fit: int = 300, held_out: int = 150, walks: int = 48) -> Place:
    """A place of pictures that spell their pose, with everything that a place can offer but day and night."""
    generator, cells = np.random.default_rng(5), walking.PoseCells(0)
    poses, actions = (torch.from_numpy(each) for each in walking.walk(generator, walks, 16))
    circle = turn(torch.from_numpy(walking.poses_anywhere(generator, 6)))
    beside = poses[:, 1:2] + torch.tensor([[[12.0, 0.0, 0.0], [-12.0, 0.0, 0.0], [0.0, 12.0, 0.0]]])
    return Place(
        name="spelt",
        kind="static",
        field_of_view=60.0,
        fit=views(torch.from_numpy(cells.draw(generator, fit, held_out=False))),
        held_out=views(torch.from_numpy(cells.draw(generator, held_out, held_out=True))),
        walks=walks_of(poses, actions),
        earlier=[views(torch.from_numpy(walking.poses_anywhere(generator, 400)))],
        circles=walks_of(circle.poses, circle.actions),
        hard=spell(beside.flatten(0, 1)).reshape(walks, 3, 3, SIZE, SIZE),
    )
