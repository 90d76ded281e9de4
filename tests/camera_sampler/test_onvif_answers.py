"""What an ONVIF camera answers: addresses of its own, faults in envelopes, and nonsense in either direction."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import httpx
import pytest

from camera_sampler.cameras import CameraError
from camera_sampler.cameras.base import ErrorKind
from camera_sampler.simulation.emulators.base import Reply
from camera_sampler.simulation.emulators.onvif_messages import envelope, fault
from tests.camera_sampler.emulating import PASSWORD, USER
from tests.camera_sampler.onvif_cameras import driver, kind_of, messages, onvif, works


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
