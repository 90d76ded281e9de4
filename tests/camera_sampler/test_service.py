"""The sampler's loop: views, episodes, bad snapshots, a Redis that dies."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camera_sampler.cameras import CameraError, Snapshot
from camera_sampler.looking import Looker
from camera_sampler.policies.random_walk import PAN_TILT_MOVES, ZOOM_MOVES
from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from shared.messages import StreamName, View
from shared.pose import Pose
from shared.redis_client import RedisClients
from tests.camera_sampler.sampling import (
    SCENE,
    Broken,
    at_least,
    check_chain,
    eventually,
    fast,
    metric,
    running,
    simulated,
    views,
)
from tests.conftest import RedisServer


async def test_publishes_verified_views_in_a_chain(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    async with running(sampler_settings, clients) as sampler:
        found = await at_least(clients, 23)
    check_chain(found, movements=4)
    assert [item.message.step for item in found[:12]] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    for item in found:
        view = item.message
        assert (view.camera, view.policy, view.settled) == ("camera-0", "random-walk", True)
        assert view.source == "camera-sampler@test"
        assert view.limits == sampler_settings.limits
        image = Image.open(io.BytesIO(item.blobs[View.JPEG]))
        assert (image.format, image.size, image.mode) == ("JPEG", (32, 32), "RGB")
        assert image.size == (view.width, view.height)
        if view.action:
            assert view.action.pan in PAN_TILT_MOVES
            assert view.action.zoom in ZOOM_MOVES
    assert metric(sampler, "views_total", policy="random-walk") == len(await views(clients))
    assert metric(sampler, "pose_degrees", axis="pan") == pytest.approx((await views(clients))[-1].message.pose.pan)
    assert metric(sampler, "settle_seconds_count") >= len(found)
    assert metric(sampler, "episodes_total") >= 4


async def test_the_picture_belongs_to_the_pose(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    async with running(sampler_settings, clients):
        found = await at_least(clients, 8)
    for item in found:
        expected = SCENE.render(item.message.pose, 64, 36, 0.0)
        wanted = np.asarray(Image.fromarray(expected).resize((32, 32), Image.Resampling.BOX)).astype(int)
        difference = np.asarray(Image.open(io.BytesIO(item.blobs[View.JPEG]))).astype(int) - wanted
        elsewhere = wanted - wanted[::-1]
        assert np.abs(difference).mean() < 0.5 * np.abs(elsewhere).mean()


async def test_the_same_seed_looks_at_the_same_places(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    async with running(sampler_settings, clients):
        first = await at_least(clients, 12)
    await clients.commands.flushall()
    async with running(sampler_settings, clients):
        second = await at_least(clients, 12)
    for one, other in zip(first[:12], second[:12], strict=True):
        assert one.message.pose.degrees_to(other.message.pose) < 0.1


async def test_sweeps_on_request(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    async with running(fast(sampler_settings.redis_url, policy="raster"), clients):
        found = await at_least(clients, 10)
    assert {item.message.policy for item in found} == {"raster"}
    poses = [item.message.pose for item in found[:10]]
    assert [round(pose.pan) for pose in poses] == [-180 + 20 * step for step in range(10)]


async def test_the_stream_stays_bounded(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    async with running(fast(sampler_settings.redis_url, views_stream_length=16), clients) as sampler:

        async def many() -> bool:
            return metric(sampler, "views_total", policy="random-walk") > 160

        await eventually(many)
        assert await clients.commands.xlen(StreamName.views("camera-0")) < 130


async def test_bad_snapshots_are_never_published(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    camera = Broken(simulated(sampler_settings))
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "JPEG")
    camera.snapshots = [None, b"", b"<html>", small.getvalue(), None, CameraError("reset"), None]
    async with running(sampler_settings, clients, camera) as sampler:
        found = await at_least(clients, 8)
        for kind in ("empty", "not-an-image", "wrong-size", "no-answer"):
            assert metric(sampler, "rejects_total", kind=kind) == 1.0
    # Trying again at the same place keeps the chain whole.
    check_chain(found, movements=4)
    assert [item.message.step for item in found[:5]] == [0, 1, 2, 3, 4]


async def test_a_view_given_up_breaks_the_chain(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    camera = Broken(simulated(sampler_settings))
    camera.snapshots = [None, None, b"", b""]
    async with running(fast(sampler_settings.redis_url, snapshot_tries=2), clients, camera) as sampler:
        found = await at_least(clients, 6)
        assert not sampler.not_ready.get("camera")
    check_chain(found, movements=4)
    assert [item.message.step for item in found[:5]] == [0, 1, 0, 1, 2]


async def test_a_move_that_failed_breaks_the_chain(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    camera = Broken(simulated(sampler_settings))
    camera.moves = [None, None, *[CameraError("driver is initiating")] * 3]
    async with running(sampler_settings, clients, camera):
        found = await at_least(clients, 5)
    check_chain(found, movements=4)
    assert [item.message.step for item in found[:4]] == [0, 1, 0, 1]


async def test_a_move_that_failed_once_is_tried_again(clients: RedisClients, sampler_settings: SamplerSettings) -> None:
    camera = Broken(simulated(sampler_settings))
    camera.moves = [None, None, CameraError("driver is initiating")]
    async with running(sampler_settings, clients, camera):
        found = await at_least(clients, 5)
    check_chain(found, movements=4)
    assert [item.message.step for item in found[:4]] == [0, 1, 2, 3]


async def test_a_camera_that_moved_by_itself_is_not_seen_as_moved(
    clients: RedisClients, sampler_settings: SamplerSettings
) -> None:
    here, elsewhere = Pose(pan=10.0, tilt=0.0), Pose(pan=40.0, tilt=0.0)
    camera = Broken(simulated(sampler_settings))
    # It stood here, and was elsewhere before the first snapshot; the next try finds it here again.
    camera.poses = [here, here, here, elsewhere, *[here] * 40]
    async with running(sampler_settings, clients, camera) as sampler:
        found = await at_least(clients, 1)
        assert metric(sampler, "rejects_total", kind="moved") == 1.0
    assert found[0].message.pose == here


async def test_a_camera_that_never_stands_still_is_said_to(
    clients: RedisClients, sampler_settings: SamplerSettings
) -> None:
    camera = Broken(simulated(sampler_settings))
    camera.poses = [Pose(pan=step % 90, tilt=0.0) for step in range(100_000)]
    async with running(fast(sampler_settings.redis_url, deadline_seconds=1.0), clients, camera) as sampler:
        found = await at_least(clients, 2)
        assert metric(sampler, "unsettled_total") >= 2.0
    assert not any(item.message.settled for item in found)
    assert all(item.message.pose != item.message.pose_before for item in found)


async def test_a_camera_that_drifts_during_the_snapshot_is_said_to(
    clients: RedisClients, sampler_settings: SamplerSettings
) -> None:
    still, drifted = Pose(pan=10.0, tilt=0.0), Pose(pan=10.0, tilt=0.5)
    camera = Broken(simulated(sampler_settings))
    # Three readings until it stands still, then one before and one after each snapshot.
    camera.poses = [still, still, still, still, drifted, still, still, still, still, still]
    async with running(sampler_settings, clients, camera):
        found = await at_least(clients, 2)
    assert [item.message.settled for item in found[:2]] == [False, True]
    assert (found[0].message.pose_before, found[0].message.pose) == (still, drifted)


async def test_an_old_picture_is_known_though_nothing_came_of_it(sampler_settings: SamplerSettings) -> None:
    sampler, camera = CameraSampler(sampler_settings), Broken(simulated(sampler_settings))
    looker = Looker(camera, sampler_settings, sampler._rejects, sampler._settle)

    class Mute(Broken):
        """Does not tell where it looks after its picture."""

        async def snapshot(self) -> Snapshot:
            self.fails = True
            return await super().snapshot()

        async def pose(self) -> Pose:
            if getattr(self, "fails", False):
                raise CameraError("no pose")
            return await super().pose()

    await camera.move_to(Pose(pan=20.0, tilt=0.0))
    await looker.stand_still()
    old = (await camera.snapshot()).data
    looker._camera = mute = Mute(camera)
    mute.snapshots = [old]
    with pytest.raises(CameraError):
        await looker._look_once(settled=True)
    looker._camera = camera
    await camera.move_to(Pose(pan=80.0, tilt=0.0))
    await looker.stand_still()
    camera.snapshots = [old]
    look = await looker.look(settled=True)
    assert look.picture.data != old
    assert sampler.metrics.registry.get_sample_value("ptz_camera_sampler_rejects_total", {"kind": "stale"}) == 1.0


async def test_waiting_ends_with_the_deadline_or_when_it_stands_still(sampler_settings: SamplerSettings) -> None:
    sampler, camera = CameraSampler(sampler_settings), Broken(simulated(sampler_settings))

    def looker(deadline: float) -> Looker:
        settings = fast(sampler_settings.redis_url, deadline_seconds=deadline)
        return Looker(camera, settings, sampler._rejects, sampler._settle)

    camera.poses = [Pose(pan=step % 90, tilt=0.0) for step in range(100_000)]
    assert not await looker(2.0).stand_still()
    camera.poses = [Pose(pan=step, tilt=0.0) for step in (1, 2, 3, 3, 3, 4)]
    assert await looker(600.0).stand_still()
    assert camera.poses == [Pose(pan=4, tilt=0.0)]


async def test_keeps_originals(clients: RedisClients, sampler_settings: SamplerSettings, tmp_path: Path) -> None:
    originals = tmp_path / "originals"
    settings = fast(sampler_settings.redis_url, keep_originals=originals, keep_originals_count=3)
    async with running(settings, clients):
        await at_least(clients, 6)
    found = await views(clients)
    kept = sorted(path.name for path in originals.glob("*.jpg"))
    assert kept == [item.message.original for item in found[-3:]]
    assert sorted(path.name for path in originals.iterdir()) == sorted([*kept, *(f"{name}.json" for name in kept)])
    told = json.loads((originals / f"{kept[-1]}.json").read_bytes())
    assert (told["view"], told["brand"], told["origin"]) == (found[-1].message.id, "simulated", "camera")
    assert Pose.model_validate(told["pose"]) == found[-1].message.pose
    assert found[-1].message.id in kept[-1]
    with Image.open(originals / kept[-1]) as image:
        assert image.size == (64, 36)


async def test_a_full_disk_costs_the_original_not_the_view(
    clients: RedisClients, sampler_settings: SamplerSettings, tmp_path: Path
) -> None:
    originals = tmp_path / "originals"
    sampler_settings = fast(sampler_settings.redis_url, keep_originals=originals)
    async with running(sampler_settings, clients) as sampler:
        await at_least(clients, 2)
        for path in originals.iterdir():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            originals.rename(tmp_path / "moved")
        found = await at_least(clients, len(await views(clients)) + 3)
        assert metric(sampler, "originals_lost_total") >= 1.0
    assert found[-1].message.original is None


async def test_a_redis_that_dies_loses_no_view(own_redis_server: RedisServer) -> None:
    settings = fast(own_redis_server.url, policy="random-walk", views_per_second=50.0)
    connections = RedisClients.from_settings(settings)
    try:
        async with running(settings, connections) as sampler:
            for _ in range(2):
                before = len(await at_least(connections, len(await views(connections)) + 8))
                await asyncio.to_thread(own_redis_server.kill)

                async def noticed() -> bool:
                    return "redis" in sampler.not_ready

                await eventually(noticed)
                await asyncio.to_thread(own_redis_server.start)
                found = await at_least(connections, before + 8)
            assert metric(sampler, "publish_waits_total") == 2.0
            assert not sampler.not_ready.get("redis")
        found = await views(connections)
        # An attempt whose answer was lost may stand there twice, with the same id; consumers drop the second.
        unique = list({item.message.id: item for item in found}.values())
        check_chain(unique, movements=4)
        assert len(unique) == metric(sampler, "views_total", policy="random-walk")
    finally:
        await connections.aclose()
