"""Milliseconds that the sampler adds to each view, the camera's own time left out, and where they go.

The camera here answers at once, standing still, with pictures that were made before; the sampler is the real one and
publishes to a real server on a unix socket. The stages are timed while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import Row, main
from camera_sampler import looking, outbox, service
from camera_sampler.cameras import Snapshot
from camera_sampler.freshness import Freshness
from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.planting import paint_panorama
from camera_sampler.simulation.renderer import Renderer
from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from shared.actions import Action
from shared.messages import utc_now
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.supervision import Supervisor

WIDTH, HEIGHT = 640, 360
VIEW_SIZE = 64
VIEWS, WARM_UP = 600, 50
PICTURES = 16
TARGET_MS = 5.0


class InstantCamera:
    """Stands where it is told to at once, and has its pictures ready."""

    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = itertools.cycle(pictures)
        self._pose, self._limits = Pose(pan=0.0, tilt=0.0), PoseLimits()
        self.asked: list[float] = []
        """When each picture was asked for."""
        self.enough = asyncio.Event()

    async def pose(self) -> Pose:
        """See ``Camera.pose``."""
        return self._pose

    async def move_to(self, pose: Pose) -> None:
        """See ``Camera.move_to``."""
        self._pose = pose

    async def move_by(self, action: Action) -> None:
        """See ``Camera.move_by``."""
        self._pose = action.apply(self._pose, self._limits)

    async def limits(self) -> PoseLimits:
        """See ``Camera.limits``."""
        return self._limits

    async def snapshot(self) -> Snapshot:
        """See ``Camera.snapshot``."""
        self.asked.append(time.perf_counter())
        if len(self.asked) >= VIEWS + WARM_UP:
            self.enough.set()
        return Snapshot(next(self._pictures), utc_now())

    async def aclose(self) -> None:
        """See ``Camera.aclose``."""


def pictures() -> list[bytes]:
    """Return JPEGs of the generated scene, as a camera's encoder makes them."""
    renderer, made = Renderer(Panorama(paint_panorama(0))), []
    for pan in np.linspace(-180.0, 180.0, PICTURES, endpoint=False):
        buffer = io.BytesIO()
        Image.fromarray(renderer.render(Pose(pan=float(pan), tilt=0.0), WIDTH, HEIGHT)).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


class Stages:
    """Milliseconds spent in the sampler's stages while it runs, one entry a call."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Have the stages timed during the block."""
        places: list[tuple[str, Any, str]] = [
            ("decode and verify", looking, "verify"),
            ("check freshness", Freshness, "check"),
            ("resize and encode", service, "training_jpeg"),
            ("publish", outbox, "publish"),
        ]
        originals = [getattr(place, attribute) for _, place, attribute in places]
        for (name, place, attribute), original in zip(places, originals, strict=True):
            asynchronous = inspect.iscoroutinefunction(original)
            setattr(place, attribute, (self._timed_async if asynchronous else self._timed)(name, original))
        try:
            yield
        finally:
            for (_, place, attribute), original in zip(places, originals, strict=True):
                setattr(place, attribute, original)

    def medians(self) -> dict[str, float]:
        """Return the median of each stage after the warm-up."""
        return {name: statistics.median(values[WARM_UP:]) for name, values in self.spent.items()}

    def _note(self, name: str, began: float) -> None:
        self.spent.setdefault(name, []).append(1000.0 * (time.perf_counter() - began))

    def _timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self._note(name, began)

        return timed

    def _timed_async(self, name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return await work(*arguments, **options)
            finally:
                self._note(name, began)

        return timed


async def _run(settings: SamplerSettings, clients: RedisClients) -> tuple[list[float], dict[str, float]]:
    """Let the sampler run; return the milliseconds from each picture to the next, and the stages' medians."""
    camera, sampler, stages = InstantCamera(pictures()), CameraSampler(settings), Stages()
    camera.enough = sampler.stopping
    with stages.watch():
        await sampler.sample(camera, clients)
    times = camera.asked[WARM_UP:]
    return [1000.0 * (after - before) for before, after in itertools.pairwise(times)], stages.medians()


async def _measure(directory: Path) -> list[Row]:
    supervisor = Supervisor()
    supervisor.start(redis_child(directory))
    await wait_until_up(directory)
    settings = SamplerSettings(
        redis_url=redis_url(directory), policy="random-walk", views_per_second=1000.0, time_scale=1000.0,
        poll_seconds=1e-6, view_size=VIEW_SIZE, snapshot_width=WIDTH, snapshot_height=HEIGHT,
    )  # fmt: skip
    clients = RedisClients.from_settings(settings)
    try:
        whole, parts = await _run(settings, clients)
    finally:
        await clients.aclose()
        await supervisor.stop_all()
    rows = [
        Row("a view, median", statistics.median(whole), "ms", TARGET_MS, "lower"),
        Row("a view, 95th percentile", statistics.quantiles(whole, n=20)[-1], "ms", better="lower"),
    ]
    parts["polling, threads, the rest"] = statistics.median(whole) - sum(parts.values())
    return rows + [Row(f"  {name}, median", value, "ms", better="lower") for name, value in parts.items()]


def measure() -> list[Row]:
    """Measure on a server of our own."""
    directory = Path(tempfile.mkdtemp(prefix="ptz-bench-"))
    try:
        return asyncio.run(_measure(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main("camera_sampler", measure))
