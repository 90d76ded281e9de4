"""A lean HTTP/1.1 client: one keep-alive connection, one request at a time, no more work than the bytes need.

General clients take longer to ask than the broker takes to answer, so they can neither load it nor measure it.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, Self, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's status and body."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Read the body; empty for one that is no JSON object."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class Connection(asyncio.Protocol):
    """A connection to one server. ``ConnectionError`` when it breaks before the answer is whole."""

    def __init__(self, host: str) -> None:
        self._head_end = f" HTTP/1.1\r\nHost: {host}\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: cls(f"{host}:{port}"), host, port)
        return protocol

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request and return its answer."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        head = f"{method} {path}".encode() + self._head_end
        if body:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        self._transport.write(head + b"\r\n" + body)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.abort()  # the answer would meet the next request
            raise

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Finish the answer when it is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        found = _LENGTH.search(head)
        size = end + 4 + (int(found[1]) if found else 0)
        if len(self._buffer) < size:
            return
        answer = Answer(int(head[9:12]), self._buffer[end + 4 : size])
        self._buffer = self._buffer[size:]
        if _CLOSE.search(head) or (found is None and answer.status != _NO_CONTENT):
            self.abort()  # a body without a length ends with the connection; the broker sends none
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail whoever waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(str(error or "closed before the answer")))
