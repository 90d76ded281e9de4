"""Emulated ONVIF cameras, drivers that reach them, and what tests ask of both."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from camera_sampler.access import Settled
from camera_sampler.cameras import CameraError
from camera_sampler.cameras.base import ErrorKind
from camera_sampler.cameras.onvif import OnvifCamera
from camera_sampler.simulation.emulators import Emulator, OnvifEmulator
from camera_sampler.simulation.emulators.base import Request
from shared.pose import Pose
from tests.camera_sampler.emulating import PASSWORD, REACH, access, emulator, still

Login = Literal["digest", "token", "either"]
LOGINS: tuple[Login, ...] = ("digest", "token", "either")


def onvif(**changes: Any) -> OnvifEmulator:
    server = emulator("onvif", **changes)
    assert isinstance(server, OnvifEmulator)
    return server


def driver(server: Emulator, narrow: Settled | None = None, **changes: Any) -> OnvifCamera:
    return OnvifCamera(access(server, **changes), narrow, magnification=REACH.zoom_max)


async def works(camera: OnvifCamera) -> None:
    wanted = Pose(pan=40.0, tilt=-10.0, zoom=3.0)
    await camera.move_to(wanted)
    pose = await still(camera)
    assert pose.degrees_to(wanted) < 0.02
    assert pose.zoom == pytest.approx(3.0, abs=0.01)
    assert (await camera.snapshot()).data.startswith(b"\xff\xd8")


async def kind_of(camera: OnvifCamera) -> ErrorKind:
    with pytest.raises(CameraError) as caught:
        await camera.pose()
    assert PASSWORD not in repr(caught.value)
    return caught.value.kind


def messages(server: Emulator, name: str) -> list[Request]:
    return [request for request in server.requests if f":{name}".encode() in request.body]
