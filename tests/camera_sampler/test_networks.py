"""Which addresses a camera may have: checked where a name is looked up, and kept to, by HTTP and by RTSP."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from camera_sampler.access import Access
from camera_sampler.cameras.base import CameraError
from camera_sampler.cameras.http import CameraHttp
from camera_sampler.cameras.rtsp import StreamSnapshots
from camera_sampler.cameras.rtsp_relay import Relay
from camera_sampler.networks import Networks
from camera_sampler.settings import SamplerSettings
from ptzjepa.camera_probe import probe
from shared.errors import UserError
from tests.camera_sampler.emulating import PATIENT

ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(network="2001:db8::/32")
"""Without those of IPv6 that stand for one of IPv4."""


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.20.30.40", True),
        ("172.16.0.9", True),
        ("192.168.1.108", True),
        ("fd12::7", True),
        ("130.202.1.1", True),
        ("2001:db8::1", True),
        ("127.0.0.1", True),  # the emulators
        ("::1", True),
        ("169.254.169.254", False),
        ("169.254.10.20", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1", False),
        ("fe80::1%2", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),  # noqa: S104
        ("0.1.2.3", False),
        ("::", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
    ],
)
def test_what_is_allowed_unless_told_otherwise(address: str, allowed: bool) -> None:
    assert Networks().allows(ipaddress.ip_address(address)) == allowed


def test_given_networks_are_all_there_is() -> None:
    networks = Networks.parse(" 10.1.0.0/16, 169.254.7.7/32 ,fd12::/64")
    allowed = ("10.1.255.1", "169.254.7.7", "fd12::9", "::ffff:10.1.2.3")
    refused = ("10.2.0.1", "169.254.169.254", "192.168.1.1", "127.0.0.1", "fd13::1", "::ffff:10.2.2.3")
    assert all(networks.allows(ipaddress.ip_address(address)) for address in allowed)
    assert not any(networks.allows(ipaddress.ip_address(address)) for address in refused)


@given(ADDRESSES, st.integers(0, 32))
def test_a_network_allows_exactly_its_addresses(address: Any, bits: int) -> None:
    network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    networks = Networks((network,))
    assert networks.allows(address)
    assert networks.allows(network[0])
    assert networks.allows(network[-1])
    for beyond in (int(network[0]) - 1, int(network[-1]) + 1):
        with contextlib.suppress(ipaddress.AddressValueError):
            assert not networks.allows(type(address)(beyond))


@given(st.ip_addresses(v=4))
def test_an_address_is_the_same_in_either_notation(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.ip_address(f"::ffff:{address}")
    assert Networks().allows(mapped) == Networks().allows(address)


@pytest.mark.parametrize("text", ["10.1.0.0/40", "camera.local", "10.1.2.3/16", "10.0.0.0/8;192.168.0.0/16"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(UserError, match="PTZ_CAMERA_NETWORKS"):
        Networks.parse(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"camera_kind": "axis", "camera_url": "http://169.254.169.254/latest"},
        {"camera_kind": "axis", "camera_url": "http://[::ffff:a9fe:a9fe]/"},
        {"camera_kind": "axis", "camera_url": "http://10.2.0.1", "camera_networks": "10.1.0.0/16"},
        {"snapshot_url": "rtsp://169.254.169.254/x"},
        {"camera_kind": "axis", "camera_url": "http://10.0.0.1", "camera_networks": "ten"},
        {"camera_kind": "axis", "camera_url": "https://10.0.0.1", "camera_ca_file": "/away"},
    ],
)
def test_a_forbidden_address_ends_the_start(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match="PTZ_CAMERA_"):
        SamplerSettings.from_environment(**settings)


def test_a_link_local_camera_can_be_allowed() -> None:
    settings = SamplerSettings.from_environment(
        camera_kind="axis", camera_url="http://169.254.3.3", camera_networks="169.254.0.0/16"
    )
    assert settings.access.url == "http://169.254.3.3"


class Server:
    """Answers every connection the same, and keeps what it was asked."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self.asked: list[bytes] = []

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head)
                writer.write(self._answer(head))
                await writer.drain()
        writer.close()


def http_answer(_: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def answering() -> AsyncIterator[Server]:
    async with Server(http_answer) as server:
        yield server


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; return what was looked up."""
    looked_up: list[str] = []

    def resolve(host: str, port: int, *_: object, **__: object) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("camera_sampler.networks.socket.getaddrinfo", resolve)
    return looked_up


async def test_a_name_that_leads_to_metadata_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for addresses in (("169.254.169.254",), ("127.0.0.1", "169.254.169.254")):
        names(monkeypatch, *addresses)
        http = CameraHttp(Access("http://camera.example", timeout=PATIENT))
        with pytest.raises(CameraError, match=r"camera\.example \(169\.254\.169\.254\) is not allowed") as caught:
            await http.get("/latest/meta-data")
        assert caught.value.kind == "unreachable"
        await http.aclose()
    found = await probe(Access("http://camera.example", timeout=PATIENT), None)
    assert "not allowed" in str(found.findings[0].error)


async def test_what_was_checked_is_what_is_asked(answering: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its address between the look-up and the connection gains nothing."""
    looked_up = names(monkeypatch, "127.0.0.1")
    http = CameraHttp(Access(f"http://camera.example:{answering.port}", timeout=PATIENT))
    assert (await http.get("/a")).text == "ok"
    names(monkeypatch, "169.254.169.254")
    assert (await http.get("/b")).text == "ok"
    await http.aclose()
    assert looked_up == ["camera.example"]
    assert f"Host: camera.example:{answering.port}".lower().encode() in answering.asked[0].lower()


async def test_another_address_of_the_host_serves_as_well(answering: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "127.0.0.2", "127.0.0.1")
    http = CameraHttp(Access(f"http://camera.example:{answering.port}", timeout=PATIENT))
    assert (await http.get("/a")).text == "ok"
    await http.aclose()


async def test_redirects_lead_nowhere(answering: Server) -> None:
    to = f"http://127.0.0.1:{answering.port}/secret"
    moved = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
    async with Server(lambda _: moved) as camera:
        http = CameraHttp(Access(f"http://127.0.0.1:{camera.port}", "user", SecretStr("pass"), timeout=PATIENT))
        with pytest.raises(CameraError, match="HTTP 302"):
            await http.get("/a")
        await http.aclose()
        await probe(Access(f"http://127.0.0.1:{camera.port}", timeout=PATIENT), None)
        assert camera.asked
    assert answering.asked == []


async def test_no_proxy_of_the_environment_is_believed(answering: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    http = CameraHttp(Access(f"http://127.0.0.1:{answering.port}", timeout=PATIENT))
    assert (await http.get("/a")).text == "ok"
    await http.aclose()


class TestStreams:
    """FFmpeg goes where it likes, unless the relay keeps it from that."""

    pytest.importorskip("av", reason="the extra 'rtsp' is not installed")

    @staticmethod
    def moved_to(port: int, piece: str) -> Callable[[bytes], bytes]:
        def answer(head: bytes) -> bytes:
            sequence = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"cseq"))
            place = f"Location: rtsp://127.0.0.1:{port}/x".encode()
            return piece.encode() + b"\r\n" + sequence + b"\r\n" + place + b"\r\n\r\n"

        return answer

    @pytest.mark.parametrize("status", ["RTSP/1.0 302 Found", "RTSP/1.0  301 x", "RTSP/2 +305 x", "RTSP/1.0\t0307 x"])
    async def test_redirects_lead_nowhere(self, status: str) -> None:
        async with Server(http_answer) as elsewhere, Server(self.moved_to(elsewhere.port, status)) as camera:
            url = f"rtsp://127.0.0.1:{camera.port}/stream"
            opened = StreamSnapshots(None, Access(url, "user", SecretStr("pass"), timeout=PATIENT))  # type: ignore[arg-type]
            with pytest.raises(CameraError) as caught:
                await opened.snapshot()
            assert camera.asked
            assert elsewhere.asked == []
            assert caught.value.kind == "refused"
            assert "not followed" in str(caught.value)

    async def test_a_name_that_leads_to_metadata_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names(monkeypatch, "169.254.169.254")
        opened = StreamSnapshots(None, Access("rtsp://camera.example/x", timeout=PATIENT))  # type: ignore[arg-type]
        with pytest.raises(CameraError, match="is not allowed") as caught:
            await opened.snapshot()
        assert caught.value.kind == "unreachable"


def test_the_relay_passes_everything_else_on_and_notices_a_redirect_in_pieces() -> None:
    camera = socket.create_server(("127.0.0.1", 0))
    with camera, Relay(["127.0.0.2", "127.0.0.1"], camera.getsockname()[1], 30.0) as relay:
        near = socket.create_connection(("127.0.0.1", relay.port), 30.0)
        far, _ = camera.accept()
        far.settimeout(30.0)
        with near, far:
            near.sendall(b"OPTIONS")
            assert far.recv(100) == b"OPTIONS"
            answer = b"RTSP/1.0 200 OK\r\nServer: RTSP/1.1\r\n\r\n$\0\0\4abcd"
            far.sendall(answer)
            got = b""
            while len(got) < len(answer):
                got += near.recv(100)
            assert got == answer
            assert not relay.redirected
            for piece in (b"RTS", b"P/1.0 ", b"3", b"02 "):
                far.sendall(piece)
            rest = b"".join(iter(lambda: near.recv(100), b""))
            assert relay.redirected
            assert b"302" not in rest
