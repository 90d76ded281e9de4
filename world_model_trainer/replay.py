"""Bounded memory of views in the order they came, from which trajectories are drawn."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import torch

from shared.messages import View
from world_model_trainer.objectives import Trajectories


class Replay:
    """A ring of decoded views of one camera. Adding the same view again changes nothing.

    Memory is fixed from the start: ``capacity`` × 3 × S² bytes, and a little more.
    """

    def __init__(self, capacity: int, image_size: int) -> None:
        self.capacity = capacity
        self._images = np.zeros((capacity, 3, image_size, image_size), np.uint8)
        self._poses = np.zeros((capacity, 3), np.float32)
        self._actions = np.zeros((capacity, 3), np.float32)
        self._captured = np.zeros(capacity, np.float64)
        """Seconds since 1970."""
        self._linked = np.zeros(capacity, bool)
        """Whether the slot's view was reached by one action from the view in the slot before it."""
        self._slot_of: dict[str, int] = {}
        self._id_in: list[str | None] = [None] * capacity
        self._next = 0
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def __contains__(self, view_id: object) -> bool:
        return view_id in self._slot_of

    def add(self, view: View, image: npt.NDArray[np.uint8]) -> int | None:
        """Keep a view with its ``image [3, S, S]``; return the slot of the view before it, if the two are linked."""
        if view.id in self._slot_of:
            return None
        slot = self._next
        before = (slot - 1) % self.capacity
        follows = view.previous is not None and view.action is not None and self._id_in[before] == view.previous
        self._forget(slot)
        self._images[slot] = image
        self._poses[slot] = view.pose.as_tuple()
        self._captured[slot] = view.captured_at.timestamp()
        if view.action is not None:
            self._actions[slot] = (view.action.pan, view.action.tilt, view.action.zoom)
        self._linked[slot] = follows
        self._slot_of[view.id], self._id_in[slot] = slot, view.id
        self._next = (slot + 1) % self.capacity
        self.added += 1
        return before if follows else None

    def span(self) -> tuple[datetime, datetime] | None:
        """Return when the oldest and the newest view were captured; None while there is none."""
        if not len(self):
            return None
        times = self._captured[: len(self)]
        return datetime.fromtimestamp(times.min(), UTC), datetime.fromtimestamp(times.max(), UTC)

    def trajectories(self, ends: npt.NDArray[np.intp], length: int) -> Trajectories:
        """Return the trajectories of ``length`` moves that end in these slots."""
        slots = (ends[:, None] + np.arange(-length, 1)) % self.capacity
        return Trajectories(
            images=torch.from_numpy(self._images[slots]),
            poses=torch.from_numpy(self._poses[slots]),
            actions=torch.from_numpy(self._actions[slots[:, 1:]]),
        )

    def sample(
        self, batch: int, length: int, generator: np.random.Generator, *, recent_share: float = 0.25
    ) -> Trajectories | None:
        """Draw trajectories, a share from the newest eighth; None while no view has ``length`` moves behind it."""
        ends = np.flatnonzero(self._runs(length))
        if not len(ends):
            return None
        age = (self._next - 1 - ends) % self.capacity
        recent = ends[age < max(len(self) // 8, length)]
        take_recent = round(batch * recent_share) if len(recent) else 0
        chosen = [generator.choice(ends, batch - take_recent)]
        if take_recent:
            chosen.append(generator.choice(recent, take_recent))
        return self.trajectories(np.concatenate(chosen), length)

    def _runs(self, length: int) -> npt.NDArray[np.bool_]:
        whole = self._linked.copy()
        for back in range(1, length):
            whole &= np.roll(self._linked, back)
        return whole

    def _forget(self, slot: int) -> None:
        old = self._id_in[slot]
        if old is not None:
            del self._slot_of[old]
            # What came after the forgotten view has lost its beginning.
            self._linked[(slot + 1) % self.capacity] = False
