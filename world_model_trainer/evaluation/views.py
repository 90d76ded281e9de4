"""What is evaluated on: views and walks as arrays. Whoever renders or reads them makes these; nothing here does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

PlaceKind = Literal["static", "changing", "stored"]


@dataclass(frozen=True)
class Views:
    """Single views.

    ``images [N, 3, S, S]`` uint8; ``poses [N, 3]``: pan and tilt in degrees, zoom as magnification; ``seconds [N]``:
    the place's time, float64.
    """

    images: Tensor
    poses: Tensor
    seconds: Tensor

    def __len__(self) -> int:
        return len(self.poses)


@dataclass(frozen=True)
class Walks:
    """Views in a row: ``images [B, T+1, 3, S, S]`` uint8, ``poses [B, T+1, 3]``, ``actions [B, T, 3]`` (the change of
    pose: degrees, degrees, magnification), ``seconds [B, T+1]`` float64.
    """

    images: Tensor
    poses: Tensor
    actions: Tensor
    seconds: Tensor

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def moves(self) -> int:
        """Moves in each walk."""
        return self.actions.shape[1]

    def views(self) -> Views:
        """Return all views, walk by walk."""
        return Views(self.images.flatten(0, 1), self.poses.flatten(0, 1), self.seconds.flatten())


@dataclass(frozen=True)
class DayAndNight:
    """Views of the same place: ``day`` to fit on, ``day_held_out`` and ``night`` (same poses) to judge on."""

    day: Views
    day_held_out: Views
    night: Views


@dataclass(frozen=True)
class Place:
    """All that one place is evaluated on.

    ``fit`` and ``held_out``: views at unrelated poses, for probes. ``walks``: what is predicted open loop. ``earlier``:
    chunks of views from before the walks, for the look-up. ``circles``: full turns in even steps. ``hard [B, K, 3, S,
    S]``: views a quarter of the field of view beside the second view of each walk. What a place cannot offer is None.
    """

    name: str
    kind: PlaceKind
    field_of_view: float
    """Horizontal, in degrees, at zoom 1."""
    fit: Views
    held_out: Views
    walks: Walks
    earlier: Iterable[Views]
    circles: Walks | None = None
    hard: Tensor | None = None
    day_and_night: DayAndNight | None = None
    aspect: float = 1.0
    """Width over height of the pictures before they were made square."""
