"""What a run was: a bounded record of views, surprise, learning and dreams, for display, summary and report.

Counts are exact. Series are thinned when they grow long, so that a run of months fits into the same memory as one of
minutes and its whole length stays visible.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.actions import Action
from shared.leases import ModelVersion
from shared.messages import DreamBatch, Surprise, TrainingProgress, View
from shared.pose import PoseLimits

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

AGENT = "agent"
"""``View.policy`` where an agent chose the move."""

DIRECTIONS = ("left", "right", "up", "down", "zoom in", "zoom out", "stay")

SERIES_LENGTH = 20_000
PICTURES = 4_096
VERSIONS = 4_096
REMEMBERED_IDS = 65_536


def directions(action: Action) -> list[str]:
    """Return which of ``DIRECTIONS`` a move goes in: what moves of different tables have in common."""
    signs = (action.pan < 0, action.pan > 0, action.tilt > 0, action.tilt < 0, action.zoom > 0, action.zoom < 0)
    return [name for name, goes in zip(DIRECTIONS, signs, strict=False) if goes] or ["stay"]


class Thinned(Generic[T]):
    """A list that keeps every item until it is full, then every second, every fourth, and so on: never more than
    ``limit``, evenly spread over everything that was ever appended.
    """

    def __init__(self, limit: int = SERIES_LENGTH) -> None:
        self._limit, self._stride, self._seen = max(2, limit), 1, 0
        self._items: list[T] = []

    def append(self, item: T) -> None:
        """Take the item in, or let it pass where the series is thinned already."""
        if self._seen % self._stride == 0:
            if len(self._items) >= self._limit:
                del self._items[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._items.append(item)
        self._seen += 1

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __getitem__(self, index: int) -> T:
        return self._items[index]


class Recent(OrderedDict[K, V]):
    """A mapping that forgets what was put in first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._limit:
            self.popitem(last=False)


@dataclass(frozen=True)
class Look:
    """One view as the report needs it. ``seconds`` counts from the run's start; angles in degrees."""

    view: str
    seconds: float
    pan: float
    tilt: float
    zoom: float
    policy: str
    policy_version: int | None
    action: str | None
    episode: str
    original: str | None

    @property
    def steered(self) -> bool:
        """Whether an agent chose the move that led here."""
        return self.policy == AGENT


@dataclass(frozen=True)
class Measured:
    """The surprise about one view, measured before the world model trained on it."""

    view: str
    seconds: float
    version: int
    error: float
    copy_last_error: float
    predicted: float


@dataclass(frozen=True)
class Progress:
    """The loss terms of one training interval."""

    seconds: float
    step: int
    terms: dict[str, float]


@dataclass(frozen=True)
class Dreamt:
    """One batch of dreams; ``total`` counts all dreams up to and with it."""

    seconds: float
    dreams: int
    total: int
    length: int
    world_model_version: int
    policy_version: int


@dataclass
class Timeline:
    """The record of one run. Whoever fills it calls the ``add_…`` methods; messages seen twice count once."""

    world_model: str
    agent: str
    started: float = field(default_factory=time.time)
    """Seconds since the epoch; every series counts from here."""
    looks: Thinned[Look] = field(default_factory=Thinned)
    measured: Thinned[Measured] = field(default_factory=Thinned)
    learning: dict[str, Thinned[Progress]] = field(default_factory=dict)
    dreamt: Thinned[Dreamt] = field(default_factory=Thinned)
    versions: dict[str, Recent[int, ModelVersion]] = field(default_factory=dict)
    """Per model: the newest versions committed since the start, by number."""
    committed: Counter[str] = field(default_factory=Counter)
    """Per model: how many versions were committed since the start."""
    pictures: Recent[str, bytes] = field(default_factory=lambda: Recent(PICTURES), repr=False)
    """JPEG of the newest views, by view id."""
    poses: Recent[str, Look] = field(default_factory=lambda: Recent(REMEMBERED_IDS), repr=False)
    limits: PoseLimits | None = None
    """What the camera can reach."""
    views: int = 0
    steered_views: int = 0
    learned_steering: int = 0
    """Views that a committed policy version (1 or later) led to."""
    dreams: int = 0
    measurements: int = 0
    last_measured: Measured | None = None
    policies: Counter[str] = field(default_factory=Counter)
    actions: dict[str, Counter[str]] = field(default_factory=dict)
    """Per policy: how often it chose each action."""
    directions: dict[str, Counter[str]] = field(default_factory=dict)
    """Per policy: how many of its moves went left, right, and so on; a move can go in several directions."""
    _seen: Recent[str, None] = field(default_factory=lambda: Recent(REMEMBERED_IDS), repr=False)

    def add_view(self, view: View, jpeg: bytes | None) -> None:
        """Record a view and keep its picture for a while."""
        if not self._first_time(view.id):
            return
        look = Look(
            view=view.id,
            seconds=self._seconds(view.captured_at.timestamp()),
            pan=view.pose.pan,
            tilt=view.pose.tilt,
            zoom=view.pose.zoom,
            policy=view.policy,
            policy_version=view.policy_version,
            action=view.action.name if view.action else None,
            episode=view.episode,
            original=view.original,
        )
        self.looks.append(look)
        self.poses[view.id] = look
        if jpeg:
            self.pictures[view.id] = jpeg
        self.limits = view.limits
        self.views += 1
        self.policies[view.policy] += 1
        if look.steered:
            self.steered_views += 1
            self.learned_steering += (view.policy_version or 0) >= 1
        if look.action is not None:
            self.actions.setdefault(view.policy, Counter())[look.action] += 1
        if view.action is not None:
            self.directions.setdefault(view.policy, Counter()).update(directions(view.action))

    def add_surprise(self, surprise: Surprise) -> None:
        """Record how wrong the world model was about a view. Only the first measurement was before training on it."""
        if not self._first_time(f"surprise of {surprise.view}"):
            return
        self.last_measured = Measured(
            view=surprise.view,
            seconds=self._seconds(surprise.time.timestamp()),
            version=surprise.world_model_version,
            error=surprise.error,
            copy_last_error=surprise.copy_last_error,
            predicted=surprise.predicted,
        )
        self.measured.append(self.last_measured)
        self.measurements += 1

    def add_progress(self, progress: TrainingProgress) -> None:
        """Record the loss terms of a learner."""
        if self._first_time(progress.id):
            series = self.learning.setdefault(progress.learner, Thinned())
            series.append(Progress(self._seconds(progress.time.timestamp()), progress.step, dict(progress.terms)))

    def add_dreams(self, batch: DreamBatch) -> None:
        """Record a batch of dreams."""
        if not self._first_time(batch.id):
            return
        self.dreams += batch.dreams
        self.dreamt.append(
            Dreamt(
                seconds=self._seconds(batch.time.timestamp()),
                dreams=batch.dreams,
                total=self.dreams,
                length=batch.length,
                world_model_version=batch.world_model_version,
                policy_version=batch.policy_version,
            )
        )

    def add_versions(self, model: str, versions: list[ModelVersion]) -> None:
        """Record what the registry knows of a model, less what earlier runs committed."""
        known = self.versions.setdefault(model, Recent(VERSIONS))
        newest = self.newest_version(model)
        for version in sorted(versions, key=lambda item: item.version):
            if version.version > newest and version.committed_at.timestamp() >= self.started:
                known[version.version] = version
                self.committed[model] += 1

    def checkpoints(self, model: str) -> list[ModelVersion]:
        """Return the newest committed versions of a model, oldest first."""
        return [version for _, version in sorted(self.versions.get(model, {}).items())]

    def newest_version(self, model: str) -> int:
        """Return the number of the model's newest version, 0 for none."""
        return max(self.versions.get(model, {}), default=0)

    def seconds_of(self, version: ModelVersion) -> float:
        """Return when a version was committed, in seconds from the run's start."""
        return self._seconds(version.committed_at.timestamp())

    def errors(self) -> tuple[float, float] | None:
        """Return ``(one-step error, copy-last error)``: means over the second half of the measured views."""
        half = list(self.measured)[len(self.measured) // 2 :]
        if not half:
            return None
        count = len(half)
        return sum(item.error for item in half) / count, sum(item.copy_last_error for item in half) / count

    def newest_terms(self, learner: str) -> dict[str, Any]:
        """Return the newest loss terms of a learner, empty where it has said nothing."""
        series = self.learning.get(learner)
        return dict(series[-1].terms) if series else {}

    def _first_time(self, key: str) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        return True

    def _seconds(self, timestamp: float) -> float:
        # The camera starts a moment before the run's clock does.
        return round(max(0.0, timestamp - self.started), 3)
