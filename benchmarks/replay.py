"""The trainer's replay on disk, per second of CPU time on one core: ``python -m benchmarks.replay``.

The reference of a draw is the same batch gathered from an array in memory: what it costs that views are on disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, main, median_rate
from shared.actions import Action
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits
from world_model_trainer.replay import Measured, Replay
from world_model_trainer.training import TrainingConfig

VIEWS, SIZE = 10_000, 64
RUN = 20


def chained(count: int) -> list[View]:
    """Make views in runs of twenty, each reached by one action from the one before."""
    views: list[View] = []
    for index in range(count):
        step = index % RUN
        pose = Pose(pan=float(index % 360 - 180), tilt=0.0, zoom=1.0)
        views.append(
            View(
                camera="north",
                pose=pose,
                pose_before=pose,
                captured_at=utc_now(),
                episode=str(index // RUN),
                step=step,
                previous=views[-1].id if step else None,
                action=Action(name="move", pan=1.0, tilt=0.0, zoom=0.0) if step else None,
                limits=PoseLimits(),
                policy="random-walk",
                width=SIZE,
                height=SIZE,
            )
        )
    return views


def measure() -> list[Row]:
    """Return views added, opened and drawn per second of CPU time."""
    image = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), np.uint8)
    views, config, generator = chained(VIEWS), TrainingConfig(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="ptz-bench-") as directory:
        path = Path(directory) / "views"
        replay = Replay(path, SIZE, views=VIEWS)
        began = time.process_time()
        for view in views:
            replay.add(view, image, Measured(1.0, 2.0, 1.0))
        added = VIEWS / (time.process_time() - began)
        replay.close()
        began = time.process_time()
        replay = Replay(path, SIZE, views=VIEWS)
        opened = VIEWS / (time.process_time() - began)

        def draw() -> None:
            assert replay.sample(config.batch, config.length, generator) is not None

        drawn = config.views_a_step * median_rate(draw, clock=time.process_time)
        replay.close()
    stored = np.repeat(image[None], VIEWS, axis=0)

    def gather() -> None:
        stored[generator.integers(0, VIEWS, (config.batch, config.length + 1))]

    gathered = config.views_a_step * median_rate(gather, clock=time.process_time)
    return [
        Row("add", added, "views/s"),
        Row("open, every record checked", opened, "views/s"),
        Row(f"draw {config.batch} × {config.length + 1} views", drawn, "views/s", reference=gathered),
    ]


if __name__ == "__main__":
    sys.exit(main("replay", measure))
