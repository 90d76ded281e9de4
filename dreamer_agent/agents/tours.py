"""Baselines that go from place to place: a list of presets, and wherever nobody has looked for longest.

The sampler has both as policies of its own, which move in one go. These get there in moves of the table, as the agents
do that they stand beside. Each camera of a batch has a tour of its own.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent
from dreamer_agent.reach import limits_tensor, pose_tensor, reach, wrap_pan
from shared.pose import Pose, PoseLimits
from shared.viewing import WIDEST, Optics, stations, tour

NEAR = 1.0
"""Degrees from a preset at which it counts as reached: half a long move."""
_ZOOM_WEIGHT = 100.0
"""Degrees that one magnification counts for: zooming out comes before going anywhere."""


class Tour(Agent):
    """Makes the move that leads nearest to its goal, as far as the longer of the two ways is concerned."""

    def __init__(self, deltas: Tensor, limits: PoseLimits, places: Sequence[Pose]) -> None:
        if not places:
            raise ValueError("a tour needs a place to go to")
        self._deltas, self._limits = deltas, limits_tensor([limits])
        self._full_circle = limits.full_circle
        self._places = pose_tensor(places)
        self._goals = torch.empty(0, dtype=torch.int64)

    def log_probabilities(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Return ``[B, A]``: certainty for the move towards the goal."""
        del embedding
        if len(self._goals) != len(pose):
            self._goals = self._begin(pose)
        self._goals = self._next(pose)
        goals = self._places[self._goals].unsqueeze(1)
        log_probs = torch.full((len(pose), len(self._deltas)), -torch.inf, device=pose.device)
        following = reach(pose.unsqueeze(1) + self._deltas, self._limits)
        # What does not change anything must not win against a small step in the right direction.
        best = self._way(following, goals).argmin(dim=1, keepdim=True)
        return log_probs.scatter(1, best, 0.0)

    @abstractmethod
    def _begin(self, pose: Tensor) -> Tensor:
        """Return the first goals ``[B]``."""

    @abstractmethod
    def _next(self, pose: Tensor) -> Tensor:
        """Return the goals ``[B]`` of cameras that stand at ``pose [B, 3]``. To ask twice changes nothing."""

    def _way(self, pose: Tensor, goals: Tensor) -> Tensor:
        """Return how far ``pose [..., 3]`` is from ``goals [..., 3]``: the longer way, and a little of the shorter."""
        pan = goals[..., 0] - pose[..., 0]
        ways = torch.stack([wrap_pan(pan) if self._full_circle else pan, goals[..., 1] - pose[..., 1]], dim=-1).abs()
        zoom = _ZOOM_WEIGHT * (goals[..., 2] - pose[..., 2]).abs()
        return ways.amax(dim=-1) + 0.1 * ways.amin(dim=-1) + zoom


class PresetsAgent(Tour):
    """Visits the presets in their order, then from the first one again. It leaves out what it cannot get near to."""

    algorithm: ClassVar[str] = "presets"

    def __init__(self, deltas: Tensor, limits: PoseLimits, presets: Sequence[Pose] | None = None) -> None:
        places = [limits.reach(*pose.as_tuple()) for pose in presets or _corners(limits)]
        super().__init__(deltas, limits, places)
        self._patience = torch.empty(0)

    def moved(self, actions: Tensor) -> None:
        """See ``Agent.moved``."""
        self._patience = self._patience - 1.0
        del actions

    def _begin(self, pose: Tensor) -> Tensor:
        goals = torch.zeros(len(pose), dtype=torch.int64)
        self._patience = self._time_for(pose, goals)
        return goals

    def _next(self, pose: Tensor) -> Tensor:
        way = self._way(pose, self._places[self._goals])
        done = (way <= 2.0 * NEAR) | (self._patience <= 0.0)
        following = (self._goals + 1) % len(self._places)
        goals = torch.where(done, following, self._goals)
        self._patience = torch.where(done, self._time_for(pose, goals), self._patience)
        return goals

    def _time_for(self, pose: Tensor, goals: Tensor) -> Tensor:
        # In moves: four times what the largest moves of the table would need, and some for the small ones at the end.
        largest = self._deltas[:, :2].abs().amax()
        return 20.0 + 4.0 * self._way(pose, self._places[goals]) / largest


class LeastRecentlyViewedAgent(Tour):
    """Goes to the nearest of the cells that have not been looked at for about longest, and looks at those on its way.

    As the sampler's policy of that name: about means as long as the oldest, less half as many looks as there are cells.
    """

    algorithm: ClassVar[str] = "least_recently_viewed"

    def __init__(self, deltas: Tensor, limits: PoseLimits, optics: Optics | None = None) -> None:
        super().__init__(deltas, limits, tour(limits, optics or Optics()))
        self._looked = torch.empty(0, 0)
        self._looks = 0

    def moved(self, actions: Tensor) -> None:
        """See ``Agent.moved``."""
        del actions
        self._looks += 1

    def _begin(self, pose: Tensor) -> Tensor:
        self._looked = torch.full((len(pose), len(self._places)), -torch.inf)
        return self._choose(pose, self._ways(pose))

    def _next(self, pose: Tensor) -> Tensor:
        ways = self._ways(pose)
        here = ways.argmin(dim=1, keepdim=True)
        seen = torch.where(pose[:, 2:] < WIDEST, float(self._looks), self._looked.gather(1, here))
        self._looked = self._looked.scatter(1, here, seen)
        reached = self._looked.gather(1, self._goals.unsqueeze(1)).squeeze(1) == self._looks
        return torch.where(reached, self._choose(pose, ways), self._goals)

    def _choose(self, pose: Tensor, ways: Tensor) -> Tensor:
        del pose
        oldest = self._looked.amin(dim=1, keepdim=True)
        due = self._looked <= oldest + self._looked.shape[1] / 2.0
        return torch.where(due, ways, torch.inf).argmin(dim=1)

    def _ways(self, pose: Tensor) -> Tensor:
        # Wherever it stands, however far it has zoomed in, the cell is the nearest by direction.
        direction = torch.cat([pose[:, :2], torch.ones_like(pose[:, 2:])], dim=1)
        return self._way(direction.unsqueeze(1), self._places.unsqueeze(0))


def _corners(limits: PoseLimits) -> list[Pose]:
    """Return eight poses, four around and two high, each in the middle of its part of what is in reach."""
    pans, tilts = (
        [(low + high) / 2.0 for low, high in itertools.pairwise(edges)]
        for edges in (stations(limits.pan_min, limits.pan_max, 4), stations(limits.tilt_max, limits.tilt_min, 2))
    )
    return [limits.reach(pan, tilt, 1.0) for tilt in tilts for pan in pans]
