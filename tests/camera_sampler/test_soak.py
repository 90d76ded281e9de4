"""Thousands of moves on cameras that fail in every known way: no good view is lost, and no bad one is published.

The pictures carry the pose at which they were exposed, so that each published view is held against its own message.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from camera_sampler.cameras import Camera, Snapshot
from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from camera_sampler.service import CameraSampler
from camera_sampler.simulation.emulators import Faults
from camera_sampler.simulation.emulators.base import Behaviour
from camera_sampler.simulation.emulators.faults import FAULTS, IMAGE_FAULTS
from shared.actions import Action
from shared.messages import StreamName, View
from shared.pose import Pose, PoseLimits, wrap_pan
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from shared.streams import Received, look_back
from tests.camera_sampler.emulating import BRANDS, REACH, driver, emulator
from tests.camera_sampler.sampling import SPEED, fast, metric

MOVES = int(os.environ.get("SOAK_MOVES", "400"))
"""Shared out among the brands; `make soak` asks for more."""
EACH = -(-MOVES // len(BRANDS))
RATE = 0.05
SIDE, BLOCK = 64, 8
_BITS = (20, 18, 15)
QUICK = Behaviour(drip=0.0005, hang=0.05, off=0.1, starting=0.05)
# What readings are rounded to, and how far the head may swing between two readings that count as equal.
DEGREES, ZOOM = 0.035, 0.06


class PoseCode:
    """A scene that shows nothing but where the camera looks, as squares of black and white with a checksum."""

    def render(self, pose: Pose, width: int, height: int, at_seconds: float) -> npt.NDArray[np.uint8]:
        fields = (round((pose.pan + 180.0) * 1000), round((pose.tilt + 90.0) * 1000), round(pose.zoom * 1000))
        bits = "".join(f"{value:0{count}b}" for value, count in zip(fields, _BITS, strict=True))
        bits += _checksum(bits)
        squares = np.array([255 * (bit == "1") for bit in bits], np.uint8).reshape(SIDE // BLOCK, -1)
        picture = np.kron(squares, np.ones((BLOCK, BLOCK), np.uint8))
        return np.repeat(picture[..., None], 3, axis=2)

    def equirectangular(self, width: int) -> npt.NDArray[np.uint8]:
        return np.zeros((width // 2, width, 3), np.uint8)


def _checksum(bits: str) -> str:
    return f"{zlib.crc32(bits.encode()) % 2**11:011b}"


def decode(jpeg: bytes) -> Pose:
    """Read the pose out of a published picture."""
    grey = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"))
    middles = grey[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK]
    bits = "".join("1" if value > 127 else "0" for value in middles.ravel())
    assert _checksum(bits[: sum(_BITS)]) == bits[sum(_BITS) :], "the picture is damaged"
    ends = list(itertools.accumulate(_BITS, initial=0))
    pan, tilt, zoom = (int(bits[a:b], 2) / 1000 for a, b in itertools.pairwise(ends))
    return Pose(pan=pan - 180.0, tilt=tilt - 90.0, zoom=zoom)


@dataclass
class Move:
    """A move as the sampler asked for it, and how many faults had been met before it."""

    wanted: Pose | Action
    met: int


class Watched:
    """A camera that remembers what it was asked to do."""

    def __init__(self, camera: Camera, faults: Faults, sampler: CameraSampler) -> None:
        self._camera, self._faults, self._sampler = camera, faults, sampler
        self.moves: list[Move] = []

    def _note(self, wanted: Pose | Action) -> None:
        if metric(self._sampler, "moves_total") == len(self.moves):
            return  # The same move once more, after an error.
        self.moves.append(Move(wanted, len(self._faults.met)))
        if len(self.moves) >= EACH:
            self._sampler.stopping.set()

    async def move_to(self, pose: Pose) -> None:
        self._note(pose)
        await self._camera.move_to(pose)

    async def move_by(self, action: Action) -> None:
        self._note(action)
        await self._camera.move_by(action)

    async def pose(self) -> Pose:
        return await self._camera.pose()

    async def limits(self) -> PoseLimits:
        return await self._camera.limits()

    async def snapshot(self) -> Snapshot:
        return await self._camera.snapshot()

    async def aclose(self) -> None:
        await self._camera.aclose()


def check_poses(view: View, jpeg: bytes, start: Pose | None, move: Move) -> None:
    """What was asked for, what was read on both sides of the picture, and what is in the picture are one pose."""
    assert view.settled
    if isinstance(move.wanted, Action):
        assert view.action == move.wanted
        assert start is not None
        wanted = move.wanted.apply(start, view.limits)
    else:
        assert view.action is None
        wanted = move.wanted
    for pose in (view.pose_before, wanted, decode(jpeg)):
        assert abs(wrap_pan(pose.pan - view.pose.pan)) < DEGREES, (pose, view)
        assert abs(pose.tilt - view.pose.tilt) < DEGREES, (pose, view)
        assert abs(pose.zoom - view.pose.zoom) < ZOOM, (pose, view)


def check(found: list[Received[View]], moves: list[Move], faults: int, sampler: CameraSampler) -> int:
    """Hold every view against its move, and every other move against the faults. Returns how many were given up."""
    views = [item.message for item in found]
    assert len({view.id for view in views}) == len(views)
    ends = [move.met for move in moves[1:]] + [faults]
    last, last_met, number = None, 0, 0
    for move, met in zip(moves, ends, strict=True):
        view = views[number] if number < len(views) else None
        if view is not None and _led_to(move, view, last):
            check_poses(view, found[number].blobs[View.JPEG], last.pose if last else None, move)
            last, last_met, number = view, met, number + 1
        else:
            # Nothing but an injected fault since the last good view is a reason to give a move up.
            assert met > last_met, (number, move)
            last = None
    assert number == len(views), "a view that no move led to"
    given_up = sum(
        sample.value
        for family in sampler.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "ptz_camera_sampler_given_up_total"
    )
    assert metric(sampler, "moves_total") == len(moves) == len(views) + given_up
    assert metric(sampler, "unsettled_total") == 0.0
    return int(given_up)


def _led_to(move: Move, view: View, last: View | None) -> bool:
    """Whether this move led to this view, of which ``last`` is the one before it in the same episode, if any."""
    if isinstance(move.wanted, Pose):
        return (view.step, view.previous, view.action) == (0, None, None) and view.pose.degrees_to(move.wanted) < 0.1
    place = last and (last.episode, last.step + 1, last.id)
    return (view.episode, view.step, view.previous) == place and view.action == move.wanted


async def soak(brand: str, clients: RedisClients, redis_url: str) -> tuple[int, int, dict[str, int]]:
    """Make the moves on one brand; return how many views came, how many moves were given up, and the faults met."""
    # Of eight requests one is for a picture, so faults of pictures are given more weight.
    faults = Faults(rate=RATE, kinds=(*FAULTS, *sorted(IMAGE_FAULTS) * 6), seed=11)
    settings = fast(
        redis_url,
        camera=f"soak-{brand}",
        camera_kind=brand,
        camera_url="http://camera.test",
        movements=10,
        view_size=SIDE,
        snapshot_width=SIDE,
        snapshot_height=SIDE,
        views_per_second=1000.0,
        policy="random-walk",
        views_stream_length=100_000,
    )
    scene = SimulatedCamera(PoseCode(), Sensor(SIDE, SIDE), limits=REACH, clock=fast_clock(SPEED))
    sampler = CameraSampler(settings)
    async with emulator(brand, scene=scene, faults=faults, behaviour=QUICK) as server:
        # Patient, so that a busy machine is not taken for a fault.
        camera = Watched(driver(brand, server, timeout=3.0, lockout=0.3), faults, sampler)
        async with contextlib.aclosing(camera):
            await sampler.sample(camera, clients)
    found = await look_back(clients.commands, StreamName.views(settings.camera), View, 2 * MOVES)
    given_up = check(found, camera.moves, len(faults.met), sampler)
    met = Counter(fault for fault, _ in faults.met)
    return len(found), given_up, dict(met)


@pytest.mark.timeout(60 + MOVES)
async def test_no_good_view_is_lost_and_no_bad_one_published(clients: RedisClients, settings: ServiceSettings) -> None:
    outcomes = await asyncio.gather(*(soak(brand, clients, settings.redis_url) for brand in BRANDS))
    for brand, (views, given_up, met) in zip(BRANDS, outcomes, strict=True):
        print(
            f"{brand}: {views + given_up} moves, {views} views, {given_up} given up, {sum(met.values())} faults: {met}"
        )
        assert views > given_up > 0
    kinds = {kind for _, _, met in outcomes for kind in met}
    assert len(kinds) > len(FAULTS) / 2 if MOVES < 2000 else kinds == set(FAULTS)


def test_the_code_tells_every_pose() -> None:
    for pose in (Pose(pan=-180.0, tilt=-90.0), Pose(pan=179.999, tilt=90.0, zoom=30.0), Pose(pan=12.345, tilt=-6.7)):
        buffer = io.BytesIO()
        Image.fromarray(PoseCode().render(pose, SIDE, SIDE, 0.0)).save(buffer, "JPEG", quality=80)
        assert decode(buffer.getvalue()).as_tuple() == pytest.approx(pose.as_tuple(), abs=0.001)
    buffer = io.BytesIO()
    Image.effect_noise((SIDE, SIDE), 90).save(buffer, "JPEG")
    with pytest.raises(AssertionError, match="damaged"):
        decode(buffer.getvalue())
