"""A bounded buffer of walks that are rendered as training goes on: fast until it is full, then one a step.

Walk n is a function of the seed and n alone, and so is which slot it takes. A run that goes on renders the same buffer
again, and nothing of it needs to be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from camera_sampler.simulation.scenes import DAY_SECONDS
from ptzjepa.world_model import walking
from ptzjepa.world_model.scenes import DAYS, Source, render
from world_model_trainer.evaluation.nuisance import Overlay, make_overlay
from world_model_trainer.objectives import Trajectories

MOVES = 20
MOST_VIEWS = 20_000
MOST_BYTES = 256 * 2**20
FIRST_WALKS, FILLING = 64, 8
"""Walks before the first step, and with each step until the buffer is full."""


def overlays(count: int, size: int) -> list[Overlay]:
    """Return the overlays of ``count`` cameras."""
    return [make_overlay(size, 1 + camera) for camera in range(count)]


class FreshWalks:
    """Walks of 20 moves through scenes in turn, each by a camera in turn; the oldest give way to new ones."""

    def __init__(self, sources: Sequence[Source], size: int, seed: int, *, cameras: int = 0) -> None:
        self._scenes = [source.open() for source in sources]
        self._size, self._seed, self._overlays = size, seed, overlays(cameras, size)
        views = min(MOST_VIEWS, MOST_BYTES // (3 * size * size))
        self.capacity = max(64, views // (MOVES + 1))
        self._images = torch.zeros((self.capacity, MOVES + 1, 3, size, size), dtype=torch.uint8)
        self._poses = torch.zeros((self.capacity, MOVES + 1, 3))
        self._actions = torch.zeros((self.capacity, MOVES, 3))
        self._cameras = torch.zeros(self.capacity, dtype=torch.int64)
        self.rendered = 0
        """Walks rendered so far, those of former lives of the run included."""

    @property
    def walks(self) -> int:
        """Walks that the buffer holds."""
        return min(self.rendered, self.capacity)

    def fill(self, rendered: int, stop: Callable[[], bool]) -> None:
        """Render the buffer as it was after ``rendered`` walks, some at least; ``stop`` ends it early."""
        rendered = max(rendered, min(FIRST_WALKS, self.capacity))
        self.rendered = max(0, rendered - self.capacity)
        while self.rendered < rendered and not stop():
            self._render_one()

    def refresh(self) -> None:
        """Render what comes with one step: new walks while there is room, then one in place of the oldest."""
        for _ in range(FILLING if self.rendered + FILLING <= self.capacity else 1):
            self._render_one()

    def sample(self, generator: np.random.Generator, batch: int, length: int) -> Trajectories:
        """Draw ``batch`` stretches of ``length`` moves."""
        rows = torch.from_numpy(generator.integers(self.walks, size=batch))[:, None]
        starts = torch.from_numpy(generator.integers(MOVES + 1 - length, size=batch))[:, None]
        steps = starts + torch.arange(length + 1)
        return Trajectories(
            self._images[rows, steps],
            self._poses[rows, steps],
            self._actions[rows, steps[:, :-1]],
            self._cameras[rows[:, 0]] if self._overlays else None,
        )

    def _render_one(self) -> None:
        number = self.rendered
        generator = np.random.default_rng((self._seed, number))
        poses, actions = walking.walk(generator, 1, MOVES)
        seconds = walking.passing(generator.uniform(0.0, DAYS, 1) * DAY_SECONDS, actions)
        images = render(self._scenes[number % len(self._scenes)], poses[0], seconds[0], self._size)
        slot = number % self.capacity
        if self._overlays:
            camera = number // len(self._scenes) % len(self._overlays)
            images = self._overlays[camera].on(images)
            self._cameras[slot] = camera
        self._images[slot], self._poses[slot] = images, torch.from_numpy(poses[0])
        self._actions[slot] = torch.from_numpy(actions[0])
        self.rendered += 1
