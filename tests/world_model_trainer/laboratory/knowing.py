"""A model that knows where the dot is, or nothing: probes and plans must tell."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.world_model import Encoding
from world_model_trainer.laboratory.moving_dots.data import ACTION_SCALE, SIDE
from world_model_trainer.laboratory.moving_dots.networks import DotsModel, NetworkConfig

LOW, HIGH, MIDDLE = 2.6, SIDE - 1 - 2.6, (SIDE - 1) / 2.0


class Knowing(DotsModel):
    """Finds a dot before nothing by its centre of mass, and moves it as the world does. Its embedding is x and y from
    the middle, and six zeros.
    """

    def __init__(self) -> None:
        super().__init__(NetworkConfig(embedding_size=8))

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Encoding:
        mass = images[:, 0].clamp_min(0.0)
        pixels = torch.arange(SIDE, dtype=torch.float32) - MIDDLE
        total = mass.sum(dim=(1, 2))
        x, y = (mass.sum(dim=1) @ pixels) / total, (mass.sum(dim=2) @ pixels) / total
        return Encoding(images, torch.nn.functional.pad(torch.stack([x, y], dim=-1), (0, 6)))

    def dream(self, embedding: Tensor, actions: Tensor) -> Tensor:
        place, places = embedding[:, :2] + MIDDLE, []
        for action in actions.unbind(1):
            moved = place + action * ACTION_SCALE
            # Behind a wall there would be no gradient back, and a plan that once hit it would stay there.
            place = moved + (moved.clamp(LOW, HIGH) - moved).detach()
            places.append(place)
        return torch.nn.functional.pad(torch.stack(places, dim=1) - MIDDLE, (0, 6))


class Ignorant(Knowing):
    """Sees nothing and expects no change."""

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Encoding:
        return Encoding(images, torch.randn(len(images), 8))

    def dream(self, embedding: Tensor, actions: Tensor) -> Tensor:
        return embedding.unsqueeze(1).expand(-1, actions.shape[1], -1)
