"""A sampler in this process on a real Redis, with a simulated camera a hundred times as fast as a real one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
from PIL import Image

from camera_sampler.cameras import Camera, Snapshot
from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.scenes import StillScene
from shared.actions import DEFAULT_ACTIONS, Action
from shared.messages import Command, StreamName, View
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.streams import Received, look_back, publish

SPEED = 100.0
SCENE = StillScene(Panorama(np.asarray(Image.effect_noise((256, 128), 90).convert("RGB"))))
RIGHT = DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("long_right")]


def fast(redis_url: str, **changes: object) -> SamplerSettings:
    values = {
        "redis_url": redis_url,
        "node": "test",
        "admin_port": 0,
        "time_scale": SPEED,
        "views_per_second": 100.0,
        "snapshot_width": 64,
        "snapshot_height": 36,
        "view_size": 32,
        # A busy machine's slow answers must not pass for a camera that does not come to rest.
        "deadline_seconds": 600.0,
        "movements": 4,
        "seed": 7,
    }
    return SamplerSettings.model_validate(values | changes)


def simulated(settings: SamplerSettings) -> SimulatedCamera:
    return SimulatedCamera(SCENE, Sensor(64, 36), limits=settings.limits, clock=fast_clock(SPEED))


class Broken:
    """A camera with faults: each call takes the next fault from its list, if there is one left."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.snapshots: list[bytes | Exception | None] = []
        self.moves: list[Exception | None] = []
        self.poses: list[Pose] = []

    def _move_fault(self) -> None:
        fault = self.moves.pop(0) if self.moves else None
        if fault is not None:
            raise fault

    async def pose(self) -> Pose:
        return self.poses.pop(0) if self.poses else await self._camera.pose()

    async def move_to(self, pose: Pose) -> None:
        self._move_fault()
        await self._camera.move_to(pose)

    async def move_by(self, action: Action) -> None:
        self._move_fault()
        await self._camera.move_by(action)

    async def limits(self) -> PoseLimits:
        return await self._camera.limits()

    async def snapshot(self) -> Snapshot:
        snapshot = await self._camera.snapshot()
        fault = self.snapshots.pop(0) if self.snapshots else None
        if isinstance(fault, Exception):
            raise fault
        return snapshot if fault is None else Snapshot(fault, snapshot.taken_at)

    async def aclose(self) -> None:
        await self._camera.aclose()


@contextlib.asynccontextmanager
async def running(
    settings: SamplerSettings, clients: RedisClients, camera: Camera | None = None
) -> AsyncIterator[CameraSampler]:
    sampler = CameraSampler(settings)
    task = asyncio.create_task(sampler.sample(camera or simulated(settings), clients))
    try:
        yield sampler
    finally:
        sampler.stopping.set()
        await asyncio.wait_for(task, 60.0)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition lies in another process
            await asyncio.sleep(0.01)


async def views(clients: RedisClients, count: int = 1000) -> list[Received[View]]:
    return await look_back(clients.commands, StreamName.views("camera-0"), View, count)


async def at_least(clients: RedisClients, count: int, seconds: float = 60.0) -> list[Received[View]]:
    async def enough() -> bool:
        return len(await views(clients)) >= count

    await eventually(enough, seconds)
    return await views(clients)


def metric(sampler: CameraSampler, name: str, **labels: str) -> float:
    return sampler.metrics.registry.get_sample_value(f"ptz_camera_sampler_{name}", labels) or 0.0


def check_chain(found: list[Received[View]], movements: int) -> None:
    """Every view continues the one before it, or begins an episode with a jump."""
    assert len({item.message.id for item in found}) == len(found)
    for before, after in itertools.pairwise(found):
        last, view = before.message, after.message
        if view.previous is None:
            assert (view.step, view.action) == (0, None)
            assert view.episode != last.episode
        else:
            assert view.previous == last.id
            assert (view.step, view.episode) == (last.step + 1, last.episode)
            assert view.step <= movements
            assert view.action is not None
            assert view.action.apply(last.pose, view.limits).degrees_to(view.pose) < 0.1
        assert view.captured_at > last.captured_at


class Agent:
    """Answers views with commands."""

    def __init__(self, clients: RedisClients) -> None:
        self.clients = clients

    async def newest(self, other_than: str = "") -> View:
        found: list[Received[View]] = []

        async def fresh() -> bool:
            found[:] = await look_back(self.clients.commands, StreamName.views("camera-0"), View, 1)
            return bool(found) and found[0].message.id != other_than

        await eventually(fresh)
        return found[0].message

    async def command(self, answers: str, **changes: object) -> None:
        values = {"camera": "camera-0", "answers": answers, "action": RIGHT, "token": 5, "agent": "ag_00_00"}
        command = Command.model_validate({**values, "policy_version": 3, **changes})
        await publish(self.clients.commands, StreamName.commands("camera-0"), command, max_length=256)

    async def steer(self, count: int) -> None:
        view = await self.newest()
        for _ in range(count):
            await self.command(view.id)
            view = await self.newest(other_than=view.id)
