"""Milliseconds that the sampler adds to each view, the camera's own time left out, and where they go.

The camera here answers at once, standing still, with pictures that were made before; the sampler is the real one and
publishes to a real server on a unix socket. The stages are measured one by one on the same pictures.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Row, main
from camera_sampler.cameras import Snapshot
from camera_sampler.freshness import Freshness
from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.planting import paint_panorama
from camera_sampler.simulation.renderer import Renderer
from camera_sampler.snapshots import Verified, training_jpeg, verify
from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from shared.actions import Action
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.streams import publish
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


async def _whole(settings: SamplerSettings, clients: RedisClients, made: list[bytes]) -> list[float]:
    """Let the sampler run; return the milliseconds from each picture to the next."""
    camera, sampler = InstantCamera(made), CameraSampler(settings)
    camera.enough = sampler.stopping
    await sampler.sample(camera, clients)
    times = camera.asked[WARM_UP:]
    return [1000.0 * (after - before) for before, after in itertools.pairwise(times)]


async def _stages(settings: SamplerSettings, clients: RedisClients, made: list[bytes]) -> dict[str, list[float]]:
    """Return the milliseconds of each stage on its own."""
    freshness, limits = Freshness(settings.stable_degrees, settings.stable_zoom), PoseLimits()
    spent: dict[str, list[float]] = {}

    async def timed(name: str, work: Callable[..., Awaitable[object]], *arguments: object, **options: object) -> None:
        began = time.perf_counter()
        await work(*arguments, **options)
        spent.setdefault(name, []).append(1000.0 * (time.perf_counter() - began))

    async def check(picture: Verified, pose: Pose) -> None:
        freshness.check(picture, pose, utc_now())

    for number in range(VIEWS):
        data, pose = made[number % len(made)], Pose(pan=float(number % 360), tilt=0.0)
        picture = verify(data, (WIDTH, HEIGHT))
        jpeg = {View.JPEG: training_jpeg(picture.image, VIEW_SIZE)}
        view = View(
            camera="bench", pose=pose, pose_before=pose, captured_at=utc_now(), episode="0" * 32, step=0, limits=limits,
            policy="random-walk", width=VIEW_SIZE, height=VIEW_SIZE,
        )  # fmt: skip
        await timed("decode and verify", asyncio.to_thread, verify, data, (WIDTH, HEIGHT))
        await timed("check freshness", check, picture, pose)
        await timed("resize and encode", asyncio.to_thread, training_jpeg, picture.image, VIEW_SIZE)
        length = settings.views_stream_length
        await timed("publish", publish, clients.commands, "bench", view, jpeg, max_length=length)
    return spent


async def _measure(directory: Path) -> list[Row]:
    supervisor = Supervisor()
    supervisor.start(redis_child(directory))
    await wait_until_up(directory)
    settings = SamplerSettings(
        redis_url=redis_url(directory), policy="random-walk", views_per_second=1000.0, time_scale=1000.0,
        poll_seconds=0.001, view_size=VIEW_SIZE, snapshot_width=WIDTH, snapshot_height=HEIGHT,
    )  # fmt: skip
    clients = RedisClients.from_settings(settings)
    try:
        made = pictures()
        whole = await _whole(settings, clients, made)
        stages = await _stages(settings, clients, made)
    finally:
        await clients.aclose()
        await supervisor.stop_all()
    rows = [
        Row("a view, median", statistics.median(whole), "ms", TARGET_MS, "lower"),
        Row("a view, 95th percentile", statistics.quantiles(whole, n=20)[-1], "ms", better="lower"),
    ]
    parts = {name: statistics.median(values) for name, values in stages.items()}
    parts["polling, choosing, the rest"] = statistics.median(whole) - sum(parts.values())
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
