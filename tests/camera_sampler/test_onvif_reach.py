"""What an ONVIF camera says that it is and reaches: services, spaces, limits; settings where it does not say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from camera_sampler.access import Settled
from camera_sampler.cameras.onvif import OnvifCamera
from camera_sampler.cameras.onvif_spaces import DEGREES, GENERIC_PAN_TILT
from camera_sampler.simulation.emulators.onvif_messages import Offers
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Pose, PoseLimits
from tests.camera_sampler.emulating import REACH, access, still
from tests.camera_sampler.onvif_cameras import driver, messages, onvif, works

SETTLED = Settled(pan_min=-180.0, pan_max=180.0, tilt_min=-20.0, tilt_max=85.0)


async def test_moves_in_degrees_where_the_camera_has_them() -> None:
    async with onvif() as server:
        camera = driver(server)
        await camera.move_to(Pose(pan=40.0, tilt=-10.0, zoom=2.0))
        [move] = messages(server, "AbsoluteMove")
        assert f'x="40.000000" y="-10.000000" space="{DEGREES}"'.encode() in move.body
        await camera.aclose()


async def test_without_degrees_the_settings_tell() -> None:
    async with onvif(offers=Offers(degrees=False)) as server:
        camera = driver(server, SETTLED)
        assert await camera.limits() == REACH
        await works(camera)
        assert GENERIC_PAN_TILT.encode() in messages(server, "AbsoluteMove")[0].body
        await camera.aclose()


@pytest.mark.parametrize("narrow", [None, Settled(pan_min=-180.0, pan_max=180.0, tilt_min=-20.0)])
async def test_without_degrees_and_settings_it_is_the_users_error(narrow: Settled | None) -> None:
    async with onvif(offers=Offers(degrees=False)) as server:
        camera = driver(server, narrow)
        with pytest.raises(UserError, match="set PTZ_PAN_MIN, PTZ_PAN_MAX, PTZ_TILT_MIN and PTZ_TILT_MAX"):
            await camera.limits()
        await camera.aclose()


async def test_without_a_magnification_the_reach_that_was_set_counts() -> None:
    async with onvif() as server:
        camera = OnvifCamera(access(server), Settled(zoom_max=REACH.zoom_max))
        assert await camera.limits() == REACH
        await camera.aclose()
        camera = OnvifCamera(access(server))
        with pytest.raises(UserError, match="set PTZ_CAMERA_MAGNIFICATION"):
            await camera.limits()
        await camera.aclose()


async def test_a_camera_without_a_zoom() -> None:
    async with onvif(offers=Offers(zoom=False)) as server:
        camera = OnvifCamera(access(server))
        assert (await camera.limits()).zoom_max == 1.0
        await camera.move_by(Action(name="in", pan=5.0, zoom=2.0))
        assert (await still(camera)).as_tuple() == pytest.approx((5.0, 0.0, 1.0), abs=0.01)
        assert b"tt:Zoom" not in messages(server, "AbsoluteMove")[0].body
        await camera.aclose()


async def test_a_camera_that_does_not_say_whether_it_moves() -> None:
    async with onvif(offers=Offers(move_status=False)) as server:
        camera = driver(server)
        await works(camera)
        await camera.aclose()


async def test_a_camera_without_ptz_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with onvif() as server:
        for operation in ("GetServices", "GetCapabilities"):

            async def told(_: ElementTree.Element, operation: str = operation) -> str:
                return f"<tds:{operation}Response/>"

            monkeypatch.setitem(server._answers, operation, told)
        camera = driver(server)
        with pytest.raises(UserError, match="no media and no ptz service"):
            await camera.limits()
        await camera.aclose()


@pytest.mark.parametrize("told", [None, "<tds:GetServicesResponse/>"])
async def test_an_old_camera_is_asked_for_its_capabilities(told: str | None) -> None:
    async with onvif() as server:
        del server._answers["GetServices"]
        if told is not None:

            async def answer(_: ElementTree.Element) -> str:
                return told

            server._answers["GetServices"] = answer
        camera = driver(server)
        await works(camera)
        assert messages(server, "GetCapabilities")
        await camera.aclose()


@pytest.mark.parametrize(
    ("operation", "without"),
    [("GetProfiles", "PTZConfiguration"), ("GetNodes", "AbsolutePanTiltPositionSpace")],
)
async def test_a_camera_that_cannot_be_steered_is_the_users_error(
    operation: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with onvif() as server:
        original = server._answers[operation]

        async def told(asked: ElementTree.Element) -> str:
            return (await original(asked)).replace(without, "Nothing")

        monkeypatch.setitem(server._answers, operation, told)
        camera = driver(server)
        with pytest.raises(UserError, match="the camera"):
            await camera.limits()
        await camera.aclose()


async def test_limits_that_somebody_set_in_the_camera_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = "<tt:XRange><tt:Min>-0.5</tt:Min><tt:Max>1</tt:Max></tt:XRange>"
    tilts = "<tt:YRange><tt:Min>-1</tt:Min><tt:Max>0</tt:Max></tt:YRange>"
    limits = (
        f"<tt:PanTiltLimits><tt:Range><tt:URI>{GENERIC_PAN_TILT}</tt:URI>{ranges}{tilts}</tt:Range></tt:PanTiltLimits>"
    )
    async with onvif() as server:
        original = server._answers["GetProfiles"]

        async def told(asked: ElementTree.Element) -> str:
            return (await original(asked)).replace("</tt:PTZConfiguration>", f"{limits}</tt:PTZConfiguration>")

        monkeypatch.setitem(server._answers, "GetProfiles", told)
        camera = driver(server)
        assert await camera.limits() == PoseLimits(pan_min=-90.0, tilt_min=-20.0, tilt_max=32.5, zoom_max=30.0)
        await camera.aclose()


def test_a_limit_at_half_a_turn_is_at_its_own_end_of_the_generic_space() -> None:
    half = PoseLimits(pan_min=0.0, pan_max=180.0)
    assert [onvif().looks_at(Pose(pan=pan, tilt=0.0), half)[0] for pan in (0.0, 90.0, 180.0)] == [-1.0, 0.0, 1.0]
