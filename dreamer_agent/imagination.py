"""What dreaming and planning need of a world model, and nothing more."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Foresight(Protocol):
    """What a world model says of one move."""

    @property
    def embedding(self) -> Tensor:
        """The next embedding, ``[B, D]``."""

    @property
    def surprise(self) -> Tensor:
        """How wrong the model expects to be, ``[B]``, never negative."""


class Imagination(Protocol):
    """The one thing that dreaming needs of a world model."""

    def predict(self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor) -> Foresight:
        """Predict one move of every dream: ``[B, D]`` and three times ``[B, 3]``."""
