"""What only ONVIF cameras do: two logins, wrong clocks, spaces, addresses of their own, faults in envelopes."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import httpx
import pytest
from onveef import envelopes
from pydantic import SecretStr

from camera_sampler.access import Settled
from camera_sampler.cameras import CameraError, open_camera
from camera_sampler.cameras.base import ErrorKind
from camera_sampler.cameras.onvif import OnvifCamera
from camera_sampler.cameras.onvif_spaces import DEGREES, GENERIC_PAN_TILT
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.emulators import Emulator, OnvifEmulator
from camera_sampler.simulation.emulators.base import Reply, Request
from camera_sampler.simulation.emulators.onvif_messages import Offers, envelope, fault
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.camera_sampler.emulating import PASSWORD, REACH, USER, access, emulator, still
from tests.camera_sampler.sampling import at_least
from tests.support import Process

Login = Literal["digest", "token", "either"]
LOGINS: tuple[Login, ...] = ("digest", "token", "either")
SETTLED = Settled(pan_min=-180.0, pan_max=180.0, tilt_min=-20.0, tilt_max=85.0)


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


@pytest.mark.parametrize("login", LOGINS)
async def test_logs_in_as_the_camera_wants(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server)
        await works(camera)
        signed = [request for request in server.requests if "authorization" in request.headers and request.body]
        tokens = [request for request in server.requests if b"UsernameToken" in request.body]
        # Never both at once, and no password where it is not wanted.
        assert (bool(signed), bool(tokens)) == (login != "token", login == "token")
        assert server.gate.seen["wrong"] == server.tokens.seen["wrong"] == 0
        assert not any(PASSWORD.encode() in request.body for request in server.requests)
        await camera.aclose()


@pytest.mark.parametrize("ahead", [timedelta(hours=9), timedelta(days=-20_000)])
async def test_a_cameras_clock_may_be_wrong(ahead: timedelta) -> None:
    async with onvif(login="token", clock_ahead=ahead) as server:
        camera = driver(server)
        await works(camera)
        assert server.tokens.seen["stale"] == 0
        await camera.aclose()


async def test_a_cameras_clock_may_be_set_meanwhile() -> None:
    async with onvif(login="token") as server:
        camera = driver(server)
        await camera.pose()
        server.clock_ahead = timedelta(days=3)
        await camera.pose()
        assert server.tokens.seen["stale"] == 1
        await camera.aclose()


@pytest.mark.parametrize("login", LOGINS)
async def test_a_wrong_password_is_sent_once(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server, password=SecretStr("wr@ng"))
        for _ in range(10):
            assert await kind_of(camera) == "unauthorized"
        assert server.gate.seen["wrong"] + server.tokens.seen["wrong"] == 1
        await camera.aclose()


async def test_the_other_login_has_its_turn_after_the_pause() -> None:
    async with onvif(login="either") as server:
        # A camera that offers a digest and whose digest lets nobody in.
        server.gate.password = "another"
        camera, now = driver(server), [0.0]
        camera._http._clock = lambda: now[0]
        assert await kind_of(camera) == "unauthorized"
        now[0] += 6.0
        await camera.pose()
        await camera.aclose()


async def test_without_a_user_nothing_is_sent_again_and_again() -> None:
    async with onvif() as server:
        camera = driver(server, user="", password=SecretStr(""))
        for _ in range(5):
            assert await kind_of(camera) == "unauthorized"
        assert len(server.requests) == 1
        await camera.aclose()


@pytest.mark.parametrize("login", ["digest", "token"])
async def test_a_locked_account_is_left_alone(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server)
        await camera.pose()
        server.faults.line_up("locked-out", on="position")
        for _ in range(5):
            assert await kind_of(camera) == "locked-out"
        assert len(server.faults.met) == 1
        await camera.aclose()


async def test_the_emulator_refuses_a_token_that_was_seen_before() -> None:
    async with onvif(login="token") as server, httpx.AsyncClient(base_url=server.url) as client:
        body = envelopes.build_envelope(envelopes.device_get_information(), username=USER, password=PASSWORD)
        statuses = [(await client.post("/onvif/device_service", content=body)).status_code for _ in range(2)]
        late = envelopes.build_envelope(
            envelopes.device_get_information(), username=USER, password=PASSWORD, clock_offset_s=-60.0
        )
        statuses.append((await client.post("/onvif/device_service", content=late)).status_code)
    assert statuses == [200, 400, 400]
    assert server.tokens.seen["stale"] == 2


async def test_addresses_lend_their_path_alone() -> None:
    async with onvif(base="http://192.0.2.7:8899") as server:
        camera = driver(server)
        await works(camera)
        assert server.requests[-1].target == "/onvif/snapshot?channel=1&subtype=0"
        await camera.aclose()


@pytest.mark.parametrize(
    "uri",
    [
        "http://admin:secret@evil.test/onvif/snapshot", "//evil.test/onvif/snapshot", "///evil.test/../onvif/snapshot",
        "https://[bad/x", "http://evil.test/a b", "http://evil.test/sn\u00e4p", "", "http://h/" + "x" * 3000,
    ],
)  # fmt: skip
async def test_no_address_leads_anywhere_else(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with onvif() as server:
        camera = driver(server)
        await camera.limits()

        async def told(_: ElementTree.Element) -> str:
            escaped = uri.replace("&", "&amp;")
            told = f"<trt:MediaUri><tt:Uri>{escaped}</tt:Uri></trt:MediaUri>"
            return f"<trt:GetSnapshotUriResponse>{told}</trt:GetSnapshotUriResponse>"

        monkeypatch.setitem(server._answers, "GetSnapshotUri", told)
        asked = len(server.requests)
        said = ""
        try:
            await camera.snapshot()
        except CameraError as error:
            said = str(error)
        assert "secret" not in said
        assert all(request.headers["host"] == server.address for request in server.requests[asked:])
        assert all("secret" not in f"{request.target}{request.headers}" for request in server.requests[asked:])
        await camera.aclose()


async def test_asks_for_the_snapshots_address_again_when_it_is_refused() -> None:
    async with onvif() as server:
        camera = driver(server)
        await camera.snapshot()
        server.faults.line_up("refused", on="snapshot")
        with pytest.raises(CameraError):
            await camera.snapshot()
        await camera.snapshot()
        assert len(messages(server, "GetSnapshotUri")) == 2
        await camera.aclose()


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


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Reply(400, fault("Sender", ["NotAuthorized"], "Sender not authorized")), "unauthorized"),
        (Reply(500, fault("Sender", ["FailedAuthentication"], "no")), "unauthorized"),
        (Reply(200, fault("Sender", ["NotAuthorized"], "The user is locked")), "locked-out"),
        (Reply(400, fault("Sender", ["InvalidArgVal", "NoProfile"], "no profile")), "refused"),
        (Reply(500, fault("Receiver", ["ActionNotSupported"], "optional")), "refused"),
        (Reply(500, fault("Receiver", ["Action"], "booting")), "initiating"),
        (Reply(503, b"busy"), "initiating"),
        (Reply(490, b"blocked"), "locked-out"),
        (Reply(404, b"<html/>"), "refused"),
        (Reply(200, envelope("")), "unparsable"),
        (Reply(200, b"<a/>"), "unparsable"),
        (Reply(200, b'<!DOCTYPE a [<!ENTITY b "c">]>' + envelope("&b;")[38:]), "unparsable"),
        (Reply(200, envelope("<tptz:GetStatusResponse><tptz:PTZStatus/></tptz:GetStatusResponse>")), "unparsable"),
        (
            Reply(
                500,
                b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
                b"<faultcode>e:Server</faultcode><faultstring>old</faultstring></e:Fault></e:Body></e:Envelope>",
            ),
            "refused",
        ),
    ],
)
async def test_faults_by_kind(said: Reply, kind: ErrorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    async with onvif() as server:
        camera = driver(server)
        await camera.pose()

        async def answer(*_: object) -> Reply:
            return said

        monkeypatch.setattr(server, "answer", answer)
        assert await kind_of(camera) == kind
        await camera.aclose()


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b"<a>" * 1000,
        b"",
        b"\xff\xfe<\x00a\x00/\x00>\x00",
        envelope("<tptz:AbsoluteMove><tptz:Position><tt:PanTilt x='nan' y='0'/></tptz:Position></tptz:AbsoluteMove>"),
        envelope("<tptz:AbsoluteMove><tptz:Position><tt:PanTilt x='2' y='0'/></tptz:Position></tptz:AbsoluteMove>"),
        envelope("<tptz:ContinuousMove><tptz:Timeout>P1Y</tptz:Timeout></tptz:ContinuousMove>"),
        envelope("<tptz:GetStatus><tptz:ProfileToken>other</tptz:ProfileToken></tptz:GetStatus>"),
    ],
)
async def test_the_emulator_answers_nonsense_by_a_fault(body: bytes) -> None:
    async with onvif(login="digest") as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(
            "/onvif/ptz_service", content=body, auth=httpx.DigestAuth(USER, PASSWORD), timeout=10.0
        )
        assert answer.status_code == 400
        codes = re.findall(r"<env:Value>(\w+:\w+)</env:Value>", answer.text)
        assert codes[0] == "env:Sender"
        assert "root:" not in answer.text


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


def sampler(directory: Path, server: Emulator, redis_url: str, **changes: str) -> Process:
    (directory / "password").write_text(PASSWORD)
    return Process(
        directory / "process",
        "-m",
        "camera_sampler",
        **{
            "redis_url": redis_url, "admin_host": "127.0.0.1", "admin_port": "0", "policy": "random-walk",
            "camera_kind": "onvif", "camera_url": server.url, "camera_user": USER, "camera_magnification": "30",
            "camera_password_file": str(directory / "password"), "views_per_second": "50", "poll_seconds": "0.01",
            **changes,
        },
    )  # fmt: skip


@pytest.mark.parametrize("login", ["digest", "token"])
async def test_the_sampler_looks_through_an_onvif_camera(
    login: Login, clients: RedisClients, settings: ServiceSettings, tmp_path: Path
) -> None:
    async with onvif(login=login) as server:
        with sampler(tmp_path, server, settings.redis_url, spool=str(tmp_path / "spool")) as process:
            found = await at_least(clients, 5)
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"{await asyncio.to_thread(lambda: process.url)}/metrics")).text
            process.send(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        assert all(item.message.settled for item in found)
        assert PASSWORD not in process.log + metrics + "".join(item.message.model_dump_json() for item in found)


def test_without_the_package_it_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "camera_sampler.cameras.onvif")
    monkeypatch.setitem(sys.modules, "onveef", None)
    with pytest.raises(UserError, match=r"needs the package onveef: pip install 'ptzjepa\[onvif\]'"):
        open_camera(SamplerSettings(camera_kind="onvif", camera_url="http://10.0.0.1"))


async def test_what_a_camera_does_not_tell_ends_the_sampler_with_one_line(
    settings: ServiceSettings, tmp_path: Path
) -> None:
    async with onvif(offers=Offers(degrees=False)) as server:
        with sampler(tmp_path, server, settings.redis_url) as process:
            assert await asyncio.to_thread(process.wait) == 2
    [line] = [line for line in process.log.splitlines() if line.startswith("error: ")]
    assert "set PTZ_PAN_MIN" in line
