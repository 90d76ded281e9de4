"""Emulated cameras with a fast simulated one behind, and drivers that reach them over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from camera_sampler.access import Access, Settled
from camera_sampler.cameras import Camera
from camera_sampler.cameras.axis import AxisCamera
from camera_sampler.cameras.hanwha import HanwhaCamera
from camera_sampler.cameras.onvif import OnvifCamera
from camera_sampler.cameras.simulated import Sensor, SimulatedCamera, fast_clock
from camera_sampler.simulation.emulators import AxisEmulator, Emulator, HanwhaEmulator, OnvifEmulator
from camera_sampler.simulation.emulators.base import Behaviour
from shared.pose import Pose, PoseLimits
from tests.camera_sampler.sampling import SCENE, SPEED

Driver = HanwhaCamera | AxisCamera | OnvifCamera
USER, PASSWORD = "operator", "p@ss:w/rd?x"
REACH = PoseLimits(tilt_min=-20.0, tilt_max=85.0, zoom_max=30.0)
QUICK = Behaviour(drip=0.05, hang=5.0, off=0.1, starting=0.05)
PATIENT, IMPATIENT = 20.0, 0.3
"""Seconds: longer than a busy machine takes over any answer, and what is waited for answers that are not to come."""
BRANDS: dict[str, type[Emulator]] = {"hanwha": HanwhaEmulator, "axis": AxisEmulator, "onvif": OnvifEmulator}


def emulator(brand: str, *, reach: PoseLimits = REACH, scene: Camera | None = None, **changes: Any) -> Emulator:
    camera = scene or SimulatedCamera(SCENE, Sensor(64, 36), limits=reach, clock=fast_clock(SPEED))
    return BRANDS[brand](camera, **{"user": USER, "password": PASSWORD, "behaviour": QUICK, **changes})


def access(server: Emulator, **changes: Any) -> Access:
    return replace(Access(server.url, USER, SecretStr(PASSWORD), timeout=PATIENT), **changes)


def driver(brand: str, server: Emulator, narrow: Settled | None = None, **changes: Any) -> Driver:
    if brand == "hanwha":
        return HanwhaCamera(access(server, **changes), narrow)
    kind = {"axis": AxisCamera, "onvif": OnvifCamera}[brand]
    return kind(access(server, **changes), narrow, magnification=REACH.zoom_max)


@contextlib.contextmanager
def impatient(camera: Driver) -> Iterator[None]:
    """Have a driver give up soon during the block."""
    http = camera._http
    patient = http._access
    http._access = replace(patient, timeout=IMPATIENT)
    try:
        yield
    finally:
        http._access = patient


async def still(camera: Camera) -> Pose:
    """Wait until the camera stands still."""
    readings: list[Pose] = []
    async with asyncio.timeout(60.0):
        while len(readings) < 3 or len(set(readings[-3:])) > 1:
            readings.append(await camera.pose())
            await asyncio.sleep(0.005)
    return readings[-1]
