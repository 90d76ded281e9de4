"""Views made up for the spool, and a record of what it dropped."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from camera_sampler.spool import Reason, Spool
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits

_numbers = itertools.count()


def a_view(episode: str, step: int = 0) -> View:
    return View(
        id=f"view-{next(_numbers):08d}",
        camera="camera-0",
        pose=Pose(pan=1.0, tilt=2.0),
        pose_before=Pose(pan=1.0, tilt=2.0),
        captured_at=utc_now(),
        episode=episode,
        step=step,
        limits=PoseLimits(),
        policy="random-walk",
        width=64,
        height=64,
    )


class Harness:
    """A spool with a clock of its own."""

    def __init__(self, file: Path, *, most_bytes: int = 10**6, most_seconds: float = 100.0) -> None:
        self.file, self.most_bytes, self.most_seconds = file, most_bytes, most_seconds
        self.now = 1000.0
        self.views_dropped: Counter[Reason] = Counter()
        self.episodes_dropped: Counter[Reason] = Counter()
        self.spool = self.open()

    def open(self) -> Spool:
        self.spool = Spool(
            self.file,
            most_bytes=self.most_bytes,
            most_seconds=self.most_seconds,
            dropped=self._dropped,
            clock=lambda: self.now,
        )
        return self.spool

    def _dropped(self, reason: Reason, views: int) -> None:
        self.views_dropped[reason] += views
        self.episodes_dropped[reason] += 1

    def ids(self) -> list[str]:
        return [item.view.id for item in self.spool.oldest(10**6)]
