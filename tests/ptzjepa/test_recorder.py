"""The recorder against a real Redis that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ptzjepa.recorder import Recorder
from ptzjepa.timeline import Timeline
from shared.actions import DEFAULT_ACTIONS
from shared.messages import DreamBatch, StreamName, Surprise, TrainingProgress, View, utc_now
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from shared.streams import publish
from tests.conftest import RedisServer

CAMERA = "camera-0"


def view(number: int, **fields: Any) -> View:
    pose = Pose(pan=float(number), tilt=0.0)
    return View(
        id=f"view-{number:06d}",
        camera=CAMERA,
        pose=pose,
        pose_before=pose,
        captured_at=utc_now(),
        episode="episode",
        step=number,
        previous=f"view-{number - 1:06d}" if number else None,
        action=DEFAULT_ACTIONS[number % 21] if number else None,
        limits=PoseLimits(),
        **{"policy": "random-walk", "width": 64, "height": 64, **fields},
    )


def surprise(number: int) -> Surprise:
    return Surprise(
        camera=CAMERA,
        view=f"view-{number:06d}",
        world_model="wm_00_00",
        world_model_version=1,
        error=0.5,
        copy_last_error=1.0,
        predicted=0.4,
    )


async def send_view(clients: RedisClients, number: int, **fields: Any) -> None:
    message = view(number, **fields)
    await publish(clients.commands, StreamName.views(CAMERA), message, {View.JPEG: b"jpeg"}, max_length=100)


async def send_surprise(clients: RedisClients, number: int) -> None:
    await publish(clients.commands, StreamName.surprise(CAMERA), surprise(number), max_length=100)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what we wait for is another process
            await asyncio.sleep(0.02)


def new_timeline() -> Timeline:
    return Timeline("wm_00_00", "ag_00_00")


async def test_it_sees_everything_from_the_start(settings: ServiceSettings, clients: RedisClients) -> None:
    for number in range(20):
        steered = {"policy": "agent", "policy_version": number // 10} if number % 2 else {}
        await send_view(clients, number, **steered)
        await send_surprise(clients, number)
    await send_view(clients, 3)  # what a spool replays counts once
    terms = {"prediction": 0.5}
    progress = TrainingProgress(learner="wm_00_00", step=7, terms=terms)
    await publish(clients.commands, StreamName.PROGRESS, progress, max_length=100)
    dreams = DreamBatch(
        address="dreams/x",
        sha256="0" * 64,
        size=1,
        dreams=64,
        length=10,
        camera=CAMERA,
        world_model="wm_00_00",
        world_model_version=1,
        agent="ag_00_00",
        policy_version=0,
    )
    await publish(clients.commands, StreamName.DREAMS, dreams, max_length=100)

    timeline = new_timeline()
    async with Recorder(settings, timeline) as recorder:
        await recorder.drain()
    assert (timeline.views, timeline.steered_views, timeline.learned_steering) == (20, 10, 5)
    assert timeline.policies == {"agent": 10, "random-walk": 10}
    assert timeline.measurements == 20
    assert timeline.errors() == (0.5, 1.0)
    assert timeline.newest_terms("wm_00_00") == terms
    assert (timeline.dreams, timeline.dreamt[0].total) == (64, 64)
    assert timeline.pictures["view-000000"] == b"jpeg"


async def test_from_now_on_it_ignores_what_earlier_runs_left(settings: ServiceSettings, clients: RedisClients) -> None:
    await send_view(clients, 1)
    timeline = new_timeline()
    async with Recorder(settings, timeline, start="$") as recorder:
        number = 2
        while timeline.views == 0:  # the recorder pins its place at its first read
            await send_view(clients, number)
            number += 1
            await asyncio.sleep(0.05)
        await recorder.drain()
    assert "view-000001" not in timeline.poses
    assert timeline.views >= 1


async def test_it_goes_on_when_redis_comes_back(own_redis_server: RedisServer, settings: ServiceSettings) -> None:
    own = settings.model_copy(update={"redis_url": own_redis_server.url})
    clients = RedisClients.from_settings(own)
    timeline = new_timeline()
    async with Recorder(own, timeline) as recorder:
        await send_view(clients, 1)
        await until(lambda: timeline.views == 1)
        own_redis_server.kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_redis_server.start)
        await clients.aclose()
        await send_view(clients, 2)
        await send_surprise(clients, 2)
        await until(lambda: timeline.views == 2 and timeline.measurements == 1)
        await recorder.drain()
    await clients.aclose()


async def test_unreadable_entries_and_absent_broker_do_no_harm(
    settings: ServiceSettings, clients: RedisClients
) -> None:
    await clients.commands.xadd(StreamName.views(CAMERA), {"message": "not json"})
    await clients.commands.xadd(StreamName.views(CAMERA), {"something": "else"})
    await send_view(clients, 1)
    timeline = new_timeline()
    nobody = settings.model_copy(update={"broker_url": "http://127.0.0.1:9"})
    async with Recorder(nobody, timeline) as recorder:
        await recorder.drain()
    assert timeline.views == 1
    assert timeline.versions == {}


async def test_draining_without_redis_ends(own_redis_server: RedisServer, settings: ServiceSettings) -> None:
    own = settings.model_copy(update={"redis_url": own_redis_server.url})
    async with Recorder(own, new_timeline()) as recorder:
        own_redis_server.kill()
        async with asyncio.timeout(15):
            await recorder.drain()
