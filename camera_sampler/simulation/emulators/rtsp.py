"""An emulated camera's RTSP stream: JPEG over RTP (RFC 2435) interleaved in the TCP connection (RFC 2326)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from PIL import Image

from camera_sampler.cameras.base import Camera
from camera_sampler.simulation.emulators.base import Behaviour, reset
from camera_sampler.simulation.emulators.digest import DigestGate
from camera_sampler.simulation.emulators.faults import Faults

_CLOCK = 90_000
_PAYLOAD = 1400
_JPEG = 26
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
    ) -> None:
        self.camera, self.faults, self.behaviour = camera, faults or Faults(), behaviour or Behaviour()
        self.gate = DigestGate(user, password, self.realm, time.monotonic)
        self.frames_per_second, self.stale_seconds = frames_per_second, stale_seconds
        self.plays = 0
        self._last_frame = b""
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
        session = _Session()
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
            return 200, {"Content-Base": f"{self.url}/"}, _description().encode()
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
            elif fault == "stale-image" and self._last_frame:
                for number in range(_OLD_FRAMES):
                    age = self.stale_seconds - number / self.frames_per_second
                    self._send(session, self._last_frame, time.monotonic() - age, writer)
            while fault not in ("reset", "hang"):
                taken = time.monotonic()
                self._last_frame = await self._frame()
                if fault == "garbage":
                    self._send(session, secrets.token_bytes(len(self._last_frame)), taken, writer)
                elif fault == "slow":
                    await self._drip(session, taken, writer)
                else:
                    self._send(session, self._last_frame, taken, writer)
                await writer.drain()
                if fault == "cut":
                    writer.close()
                    return
                await asyncio.sleep(max(0.0, 1.0 / self.frames_per_second - (time.monotonic() - taken)))

    async def _frame(self) -> bytes:
        data = (await self.camera.snapshot()).data
        return await asyncio.to_thread(_payload, data)

    def _send(self, session: _Session, frame: bytes, taken: float, writer: asyncio.StreamWriter) -> None:
        for packet in self._packets(session, frame, taken):
            writer.write(packet)

    async def _drip(self, session: _Session, taken: float, writer: asyncio.StreamWriter) -> None:
        for byte in b"".join(self._packets(session, self._last_frame, taken)):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.behaviour.drip)

    def _packets(self, session: _Session, frame: bytes, taken: float) -> Iterator[bytes]:
        """Cut a frame into interleaved RTP packets; ``frame`` is its main header, its tables and its scan."""
        header, tables, scan = frame[:8], frame[8:140], frame[140:]
        stamp, place = round(taken * _CLOCK) & 0xFFFFFFFF, 0
        while place < len(scan) or place == 0:
            extra = tables if place == 0 else b""
            piece = scan[place : place + _PAYLOAD - len(extra)]
            last = place + len(piece) >= len(scan)
            rtp = struct.pack("!BBHII", 0x80, _JPEG | last << 7, session.sequence, stamp, session.source)
            session.sequence = (session.sequence + 1) & 0xFFFF
            packet = rtp + header[:1] + place.to_bytes(3, "big") + header[4:] + extra + piece
            yield b"$\0" + len(packet).to_bytes(2, "big") + packet
            place += max(1, len(piece))


def _description() -> str:
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=stream", "c=IN IP4 0.0.0.0", "t=0 0", f"m=video 0 RTP/AVP {_JPEG}")
    return "\r\n".join((*lines, "a=control:track0", ""))


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


def _payload(data: bytes) -> bytes:
    """Return a picture as RFC 2435 wants it: the main header, both quantization tables, and the compressed scan."""
    with Image.open(io.BytesIO(data)) as picture:
        # Sizes travel in units of eight, and a scan consists of squares of sixteen.
        width, height = (max(16, round(side / 16) * 16) for side in picture.size)
        buffer = io.BytesIO()
        picture.convert("RGB").resize((width, height)).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    encoded, tables, place = buffer.getvalue(), {}, 2
    while True:
        marker, length = encoded[place + 1], int.from_bytes(encoded[place + 2 : place + 4], "big")
        segment = encoded[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == 0xDB:
            for start in range(0, len(segment), 65):
                tables[segment[start] & 15] = segment[start + 1 : start + 65]
        if marker == 0xDA:
            break
    # Type 1: 4:2:0. Quality 255: the tables come along.
    header = bytes((0, 0, 0, 0, 1, 255, width // 8, height // 8))
    return (
        header + struct.pack("!BBH", 0, 0, 128) + tables[0] + tables[1] + encoded[place : encoded.rindex(b"\xff\xd9")]
    )
