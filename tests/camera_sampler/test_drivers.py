"""What every driver must do, over the simulated camera itself and over the wire to each emulated brand."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator

import numpy as np
import pytest
from PIL import Image

from camera_sampler.access import Settled
from camera_sampler.cameras import Camera
from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from camera_sampler.simulation.motion import Speeds
from shared.actions import DEFAULT_ACTIONS, Action
from shared.errors import UserError
from shared.pose import Pose, PoseLimits
from tests.camera_sampler.emulating import BRANDS, REACH, driver, emulator, still
from tests.camera_sampler.sampling import SCENE, SPEED


@pytest.fixture(params=["simulated", *BRANDS])
async def camera(request: pytest.FixtureRequest) -> AsyncIterator[Camera]:
    if request.param == "simulated":
        yield SimulatedCamera(SCENE, Sensor(64, 36), limits=REACH, clock=fast_clock(SPEED))
        return
    async with emulator(request.param) as server:
        opened = driver(request.param, server)
        yield opened
        await opened.aclose()


def near(pose: Pose, pan: float, tilt: float, zoom: float) -> bool:
    return pose.degrees_to(Pose(pan=pan, tilt=tilt)) < 0.02 and abs(pose.zoom - zoom) < 0.06


async def test_tells_its_limits(camera: Camera) -> None:
    assert await camera.limits() == REACH


@pytest.mark.parametrize(
    "wanted", [(10.0, 5.0, 1.0), (-170.0, -19.5, 12.3), (179.98, 84.0, 30.0), (-180.0, 0.0, 1.1), (-0.004, 0.0, 2.0)]
)
async def test_goes_where_it_is_sent(camera: Camera, wanted: tuple[float, float, float]) -> None:
    await camera.move_to(Pose(pan=wanted[0], tilt=wanted[1], zoom=wanted[2]))
    assert near(await still(camera), *wanted)


async def test_clamps_at_its_limits(camera: Camera) -> None:
    await camera.move_to(Pose(pan=0.0, tilt=-80.0, zoom=90.0))
    assert near(await still(camera), 0.0, REACH.tilt_min, REACH.zoom_max)
    await camera.move_by(Action(name="up", tilt=200.0, zoom=-99.0))
    assert near(await still(camera), 0.0, REACH.tilt_max, 1.0)


async def test_pan_wraps(camera: Camera) -> None:
    await camera.move_to(Pose(pan=175.0, tilt=0.0))
    await still(camera)
    await camera.move_by(Action(name="right", pan=10.0))
    assert near(await still(camera), -175.0, 0.0, 1.0)
    await camera.move_by(Action(name="left", pan=-10.0))
    assert near(await still(camera), 175.0, 0.0, 1.0)


@pytest.mark.parametrize("brand", ["simulated", *BRANDS])
@pytest.mark.parametrize(("low", "high"), [(0.0, 180.0), (-120.0, 179.999), (-180.0, 20.0)])
async def test_a_limit_at_half_a_turn_is_not_the_other_limit(brand: str, low: float, high: float) -> None:
    """With two digits 179.999° reads 180.00°, which is −180° and out of reach."""
    reach = PoseLimits(pan_min=low, pan_max=high, tilt_min=-20.0, tilt_max=85.0, zoom_max=30.0)
    limit, inwards = (high, -1.0) if high > 90.0 else (low, 1.0)
    async with contextlib.AsyncExitStack() as stack:
        opened: Camera = SimulatedCamera(SCENE, Sensor(64, 36), limits=reach, clock=fast_clock(SPEED))
        if brand != "simulated":
            opened = driver(brand, await stack.enter_async_context(emulator(brand, scene=opened)))
            stack.push_async_callback(opened.aclose)
        for move, pan in ((-inwards * 30.0, limit), (inwards * 10.0, limit + inwards * 10.0), (0.0, limit)):
            await opened.move_to(Pose(pan=limit, tilt=0.0))
            assert near(await still(opened), limit, 0.0, 1.0)
            await opened.move_by(Action(name="move", pan=move))
            assert near(await still(opened), pan, 0.0, 1.0)


async def test_crosses_pan_zero(camera: Camera) -> None:
    await camera.move_to(Pose(pan=0.0, tilt=0.0))
    await still(camera)
    for action, pan in (("short_left", -0.2), ("short_right", 0.0), ("short_right", 0.2)):
        await camera.move_by(DEFAULT_ACTIONS[DEFAULT_ACTIONS.index(action)])
        assert near(await still(camera), pan, 0.0, 1.0)


@pytest.mark.parametrize("action", DEFAULT_ACTIONS.actions, ids=lambda action: action.name)
async def test_makes_every_move_of_the_table(camera: Camera, action: Action) -> None:
    await camera.move_to(Pose(pan=-60.0, tilt=20.0, zoom=3.0))
    before = await still(camera)
    await camera.move_by(action)
    assert near(await still(camera), *action.apply(before, REACH).as_tuple())


@pytest.mark.parametrize("brand", ["simulated", *BRANDS])
async def test_moves_take_their_time(brand: str) -> None:
    # Three minutes, of which no busy machine takes all to read the pose.
    slow = SimulatedCamera(SCENE, Sensor(64, 36), limits=REACH, speeds=Speeds(1.0, 1.0, 1.0, 0.0))
    async with contextlib.AsyncExitStack() as stack:
        opened: Camera = slow
        if brand != "simulated":
            opened = driver(brand, await stack.enter_async_context(emulator(brand, scene=slow)))
            stack.push_async_callback(opened.aclose)
        await opened.move_to(Pose(pan=180.0, tilt=0.0))
        assert (await opened.pose()).degrees_to(Pose(pan=180.0, tilt=0.0)) > 1.0


async def test_pictures_what_it_looks_at(camera: Camera) -> None:
    await camera.move_to(Pose(pan=100.0, tilt=10.0, zoom=2.0))
    pose = await still(camera)
    snapshot = await camera.snapshot()
    expected = SCENE.render(pose, 64, 36, 0.0).astype(int)
    difference = np.abs(np.asarray(Image.open(io.BytesIO(snapshot.data))).astype(int) - expected).mean()
    assert difference < 0.5 * np.abs(expected - expected[::-1]).mean()


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("limits", [REACH, PoseLimits(pan_min=-170.0, pan_max=170.0, tilt_min=-5.0, zoom_max=12.0)])
async def test_settings_only_narrow_the_limits(brand: str, limits: PoseLimits) -> None:
    async with emulator(brand, reach=limits) as server:
        opened = driver(brand, server, Settled(pan_min=-30.0, pan_max=200.0, zoom_max=9.0))
        told = await opened.limits()
        assert told == limits.model_copy(update={"pan_min": -30.0, "zoom_max": 9.0})
        await opened.aclose()


@pytest.mark.parametrize("brand", BRANDS)
async def test_settings_that_leave_nothing_are_the_users_error(brand: str) -> None:
    async with emulator(brand) as server:
        opened = driver(brand, server, Settled(tilt_min=86.0))
        with pytest.raises(UserError, match="leave nothing"):
            await opened.limits()
        await opened.aclose()
