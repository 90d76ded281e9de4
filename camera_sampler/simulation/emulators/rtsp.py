"""An emulated camera's RTSP stream: JPEG or H.264 over RTP, interleaved in the TCP connection (RFC 2326)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from camera_sampler.cameras.base import Camera
from camera_sampler.simulation.emulators.base import Behaviour, reset
from camera_sampler.simulation.emulators.digest import DigestGate
from camera_sampler.simulation.emulators.faults import Fault, Faults
from camera_sampler.simulation.emulators.rtp_payloads import CLOCK, Codec, Payloads, payloads

_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 454: "Session Not Found", 461: "Unsupported Transport"}
_OLD_FRAMES = 5


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class _Session:
    """What one connection has agreed on."""

    payloads: Payloads
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    ready: bool = False
    source: int = field(default_factory=lambda: secrets.randbits(32))
    sequence: int = field(default_factory=lambda: secrets.randbits(16))
    playing: asyncio.Task[None] | None = None


class RtspEmulator:
    """One stream of what ``camera`` sees, on a free port of this machine. ``async with`` starts and ends it.

    Faults befall the play of a stream: ``reset``, ``hang`` (nothing comes), ``slow`` (drips), ``cut``, ``garbage``, and
    ``stale-image``: first what another viewer saw last, as old as ``stale_seconds``.
    """

    realm = "emulated stream"

    def __init__(
        self,
        camera: Camera,
        *,
        user: str = "admin",
        password: str = "",
        faults: Faults | None = None,
        behaviour: Behaviour | None = None,
        frames_per_second: float = 20.0,
        stale_seconds: float = 2.0,
        codec: Codec = "jpeg",
    ) -> None:
        self.camera, self.faults, self.behaviour = camera, faults or Faults(), behaviour or Behaviour()
        self.gate = DigestGate(user, password, self.realm, time.monotonic)
        self.frames_per_second, self.stale_seconds = frames_per_second, stale_seconds
        self.codec: Codec = codec
        self.plays = 0
        self._last_picture = b""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where the stream is."""
        return f"rtsp://127.0.0.1:{self._port}/stream"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        connections = dict(self._connections)
        for task, writer in connections.items():
            # What a viewer has not taken yet must not keep its connection open.
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for writer in connections.values():
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(payloads(self.codec))
        try:
            while (request := await _read(reader)) is not None:
                if not await self._serve(request, session, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            if session.playing is not None:
                session.playing.cancel()
                await asyncio.gather(session.playing, return_exceptions=True)
                # What is left to send is of no use to a viewer that has gone.
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, request: _Request, session: _Session, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is over."""
        status, headers, body = self._answer(request, session)
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if request.method == "PLAY" and status == 200 and session.playing is None:
            self.plays += 1
            session.playing = asyncio.ensure_future(self._play(session, writer))
        return request.method != "TEARDOWN"

    def _answer(self, request: _Request, session: _Session) -> tuple[int, dict[str, str], bytes]:
        if request.method == "OPTIONS":
            return 200, {"Public": _METHODS}, b""
        verdict = self.gate.check(request.method, request.target, request.headers.get("authorization"))
        if verdict != "in":
            return 401, {"WWW-Authenticate": self.gate.challenge(stale=verdict == "stale")}, b""
        if request.method == "DESCRIBE":
            return 200, {"Content-Base": f"{self.url}/"}, _description(session.payloads).encode()
        if request.method == "SETUP":
            if "interleaved=" not in request.headers.get("transport", ""):
                return 461, {}, b""
            session.ready = True
            return 200, {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": session.name}, b""
        if not session.ready or request.headers.get("session", "").partition(";")[0] != session.name:
            return 454, {}, b""
        return 200, {"Session": session.name, "Range": "npt=now-"}, b""

    async def _play(self, session: _Session, writer: asyncio.StreamWriter) -> None:
        fault = self.faults.next("snapshot")
        with contextlib.suppress(ConnectionError):
            if fault == "reset":
                reset(writer)
            elif fault == "hang":
                await asyncio.sleep(self.behaviour.hang)
            elif fault == "stale-image" and self._last_picture:
                writer.write(b"".join([packet async for packet in self._old_frames(session, time.monotonic())]))
            while fault not in ("reset", "hang"):
                taken = time.monotonic()
                self._last_picture = (await self.camera.snapshot()).data
                await self._send(session, self._last_picture, taken, writer, fault)
                if fault == "cut":
                    writer.close()
                    return
                await asyncio.sleep(max(0.0, 1.0 / self.frames_per_second - (time.monotonic() - taken)))

    async def _old_frames(self, session: _Session, now: float) -> AsyncIterator[bytes]:
        """Yield the packets of frames that lie ready, to be sent as fast as the link takes them."""
        for number in range(_OLD_FRAMES):
            taken = now - self.stale_seconds + number / self.frames_per_second
            made = await asyncio.to_thread(session.payloads.encode, self._last_picture, round(taken * CLOCK))
            for packet in _packets(session, made, taken):
                yield packet

    async def _send(
        self, session: _Session, picture: bytes, taken: float, writer: asyncio.StreamWriter, fault: Fault | None = None
    ) -> None:
        made = await asyncio.to_thread(session.payloads.encode, picture, round(taken * CLOCK))
        if fault == "garbage":
            made = [secrets.token_bytes(len(payload)) for payload in made]
        packets = _packets(session, made, taken)
        if fault != "slow":
            writer.write(b"".join(packets))
            await writer.drain()
            return
        for byte in b"".join(packets):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.behaviour.drip)


def _packets(session: _Session, made: Sequence[bytes], taken: float) -> Iterator[bytes]:
    """Yield interleaved RTP packets; the marker is on a picture's last."""
    stamp, kind = round(taken * CLOCK) & 0xFFFFFFFF, session.payloads.number
    for number, payload in enumerate(made, start=1):
        rtp = struct.pack("!BBHII", 0x80, kind | (number == len(made)) << 7, session.sequence, stamp, session.source)
        session.sequence = (session.sequence + 1) & 0xFFFF
        yield b"$\0" + (len(rtp) + len(payload)).to_bytes(2, "big") + rtp + payload


def _description(stream: Payloads) -> str:
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=stream", "c=IN IP4 0.0.0.0", "t=0 0")
    media = (f"m=video 0 RTP/AVP {stream.number}", *stream.description, "a=control:track0")
    return "\r\n".join((*lines, *media, ""))


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """Read a request, past what the viewer reports about the stream. None when the other side is done."""
    while (first := await reader.read(1)) == b"$":
        _, length = struct.unpack("!BH", await reader.readexactly(3))
        await reader.readexactly(length)
    if not first:
        return None
    head = first + await reader.readuntil(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = line.split(" ", 2)
    pairs = (text.partition(":") for text in lines)
    return _Request(method, target, {name.strip().lower(): value.strip() for name, _, value in pairs})
