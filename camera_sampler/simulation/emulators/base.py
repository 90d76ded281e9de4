"""An HTTP server of our own for emulated cameras: byte-exact answers, and faults that a web framework would prevent."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from PIL import Image

from camera_sampler.cameras.base import Camera
from camera_sampler.simulation.emulators.digest import DigestGate, Verdict
from camera_sampler.simulation.emulators.faults import LINK_FAULTS, Fault, Faults, Operation
from shared.pictures import open_picture

_LARGEST_BODY = 1 << 20
_ENDLESS_CHUNK = b"\0" * 65536
_BOMB_SIDE = 12_000


@dataclass(frozen=True)
class Request:
    """A request as it came: ``target`` is the path with its query, undecoded; ``query`` has lower-case keys."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    reason: str = "OK"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Behaviour:
    """Seconds: between two bytes of a slow answer, of silence, away during a reboot, and starting after it."""

    drip: float = 0.2
    hang: float = 30.0
    off: float = 0.3
    starting: float = 0.2


class Emulator(ABC):
    """One emulated camera on a free port of this machine. ``async with`` starts and ends it.

    ``camera`` is what really moves and sees, in canonical units; a brand converts on its own, not by a driver's code.
    """

    realm: ClassVar[str]
    tries: ClassVar[int | None] = None
    """Wrong passwords until the account is locked."""

    def __init__(
        self,
        camera: Camera,
        *,
        user: str = "admin",
        password: str = "",
        faults: Faults | None = None,
        behaviour: Behaviour | None = None,
        nonce_seconds: float = 300.0,
        lock_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.camera, self.faults, self.behaviour = camera, faults or Faults(), behaviour or Behaviour()
        self.clock = clock
        self.gate = DigestGate(
            user, password, self.realm, clock, nonce_seconds=nonce_seconds, tries=self.tries, lock_seconds=lock_seconds
        )
        self.requests: list[Request] = []
        """The last requests, all of them that came whole."""
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._reboot: asyncio.Task[None] | None = None
        self._starting_until = float("-inf")
        self._made_image = self._last_image = b""
        """The last one that was made, and the last that went out whole: a frozen encoder repeats the latter."""

    @property
    def url(self) -> str:
        """Where the camera answers."""
        return f"http://{self._host}:{self._port}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reboot is not None:
            self._reboot.cancel()
            await asyncio.gather(self._reboot, return_exceptions=True)
        await self.stop()

    async def start(self) -> None:
        """Begin to listen; after a stop, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Drop every connection and listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = [task for task in self._connections if task is not asyncio.current_task()]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def reboot(self) -> None:
        """Go away, come back with all logins forgotten, and be starting for a while."""
        await self.stop()
        self.gate.forget()
        await asyncio.sleep(self.behaviour.off)
        self._starting_until = self.clock() + self.behaviour.starting
        await self.start()

    @abstractmethod
    def operation(self, request: Request) -> Operation:
        """Return the sort of a request, which decides what faults it can meet."""

    @abstractmethod
    async def answer(self, request: Request, fault: Fault | None) -> Reply:
        """Do what a request asks and answer it, with a fault of the answer or the picture where one is given."""

    @abstractmethod
    def locked_reply(self) -> Reply:
        """Return the answer to a locked account."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.requests = [*self.requests[-999:], request]
                if not await self._serve(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is over."""
        reply, fault = await self._reply(request)
        if fault == "reboot":
            self._reboot = asyncio.ensure_future(self.reboot())
            return reset(writer)
        if fault == "reset":
            return reset(writer)
        if fault == "hang":
            await asyncio.sleep(self.behaviour.hang)
            return False
        head, body = _encode(reply), reply.body
        if fault == "endless":
            return await _pour(reply, writer)
        if fault == "cut":
            body = body[: len(body) // 2]
        if fault == "slow":
            await self._drip(head + body, writer)
            return False
        writer.write(head + body)
        await writer.drain()
        if fault != "cut" and body == self._made_image:
            self._last_image = body
        return fault != "cut"

    async def _reply(self, request: Request) -> tuple[Reply, Fault | None]:
        verdict = self.verdict(request)
        if verdict == "locked":
            return self.locked_reply(), None
        if verdict != "in":
            return self.unauthorized_reply(request, stale=verdict == "stale"), None
        operation = self.operation(request)
        fault = self.faults.next(operation)
        if fault == "unauthorized":
            return self.unauthorized_reply(request, stale=False), fault
        if fault == "locked-out":
            return self.locked_reply(), fault
        if fault is None and self.clock() < self._starting_until:
            return await self.answer(request, "initiating"), None
        return await self.answer(request, None if fault in LINK_FAULTS or fault == "reboot" else fault), fault

    def verdict(self, request: Request) -> Verdict:
        """Judge a request's login."""
        return self.gate.check(request.method, request.target, request.headers.get("authorization"))

    def unauthorized_reply(self, request: Request | None, *, stale: bool) -> Reply:
        """Return the answer to a login that is missing, wrong or (``stale``) too old."""
        body = b"<!DOCTYPE HTML>\n<html><head><title>401 Unauthorized</title></head><body>Unauthorized</body></html>\n"
        challenge = ("WWW-Authenticate", self.gate.challenge(stale=stale))
        return Reply(401, body, "text/html", "Unauthorized", (challenge,))

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.behaviour.drip)

    async def image(self, fault: Fault | None, size: tuple[int, int] | None = None) -> bytes:
        """Take a picture, scaled to ``size`` where given, and spoil it as the fault says."""
        if fault == "empty-image":
            return b""
        if fault == "no-image":
            return b"<html><body>Snapshot failed</body></html>\n"
        if fault == "bomb":
            return _bomb()
        if fault == "stale-image" and self._last_image:
            return self._last_image
        data = (await self.camera.snapshot()).data
        size = (8, 8) if fault == "wrong-size" else size
        if size is not None:
            data = await asyncio.to_thread(_resize, data, size)
        data = self.finish_image(data)
        if fault == "truncated-image":
            return data[: len(data) * 2 // 3]
        self._made_image = data
        return data

    def finish_image(self, data: bytes) -> bytes:
        """Add what a brand writes into its pictures."""
        return data


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Read a request. None when the other side is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _LARGEST_BODY:
        raise ValueError("body too large")
    body = await reader.readexactly(length) if length else b""
    parts = urlsplit(target)
    query = {key.lower(): value for key, value in parse_qsl(parts.query, keep_blank_values=True)}
    return Request(method, target, parts.path, query, headers, body)


def _encode(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
    if reply.status != 204:
        lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(reply.body)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reset(writer: asyncio.StreamWriter) -> bool:
    """Break a connection off; returns False, which says that it is over."""
    raw: socket.socket = writer.get_extra_info("socket")
    # A linger time of zero makes the kernel send a reset instead of an orderly end.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _pour(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    endless = replace(reply, status=200, body=b"", headers=())
    writer.write(_encode(endless).replace(b"Content-Length: 0\r\n", b"Connection: close\r\n"))
    with contextlib.suppress(ConnectionError):
        for _ in range(4096):
            writer.write(_ENDLESS_CHUNK)
            await writer.drain()
    return False


def _resize(data: bytes, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    open_picture(data).resize(size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _bomb() -> bytes:
    """Return a small PNG that says it is huge."""
    buffer = io.BytesIO()
    Image.new("1", (_BOMB_SIDE, _BOMB_SIDE)).save(buffer, "PNG")
    return buffer.getvalue()
