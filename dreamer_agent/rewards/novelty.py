"""Reward what looks like nothing seen before."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams


class NoveltyReward:
    """The logarithm of the mean distance from a dreamed embedding to its nearest neighbours among real views'.

    The real views are those that dreams began at, the newest ``memory`` of them. After Liu and Abbeel, "Behavior From
    the Void", 2021, whose reward has the distance plus one inside: here distances have no fixed size.
    """

    name = "novelty"

    def __init__(self, *, memory: int = 512, neighbours: int = 5) -> None:
        self._memory, self._neighbours = memory, neighbours
        self._views = torch.empty(0, 0)
        self._poses = torch.empty(0, 3)

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]`` of every dreamed move."""
        self._remember(dreams)
        imagined = dreams.embeddings[:, 1:].float()
        apart = torch.cdist(imagined.flatten(0, 1), self._views)
        nearest = apart.topk(min(self._neighbours, len(self._views)), dim=1, largest=False).values
        mean = nearest.mean(dim=1).reshape(imagined.shape[:2])
        return torch.log(mean + 0.01 * mean.mean() + 1e-12)

    def _remember(self, dreams: Dreams) -> None:
        if self._views.shape[1] != dreams.embedding_size:
            # Another world model: distances to the old one's embeddings mean nothing.
            self._views, self._poses = torch.empty(0, dreams.embedding_size), torch.empty(0, 3)
        # Dreams that began at one view are one view; of the same dreams again, only the newest embedding counts.
        views, poses = dreams.embeddings[:, 0].float(), dreams.poses[:, 0]
        _, first = _firsts(dreams.starts)
        views, poses = views[first], poses[first]
        known = (self._poses.unsqueeze(1) == poses.unsqueeze(0)).all(dim=-1).any(dim=1)
        self._views = torch.cat([self._views[~known], views])[-self._memory :]
        self._poses = torch.cat([self._poses[~known], poses])[-self._memory :]


def _firsts(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers and where each of them comes first."""
    found, place = torch.unique(numbers, return_inverse=True)
    first = torch.full((len(found),), len(numbers)).scatter_reduce(0, place, torch.arange(len(numbers)), "amin")
    return found, first
