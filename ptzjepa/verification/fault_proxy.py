"""A TCP proxy that harms what passes: late, dropped, reset, half closed, or carried out with the answer swallowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

CHUNK_BYTES = 64 * 1024
LATE_SECONDS = 0.15
HANG_SECONDS = 1.0
"""How long a dropped request leaves its sender waiting before the connection goes, too."""


class Fault(StrEnum):
    """What happens to a request."""

    LATENCY = "latency"
    """It comes late."""
    DROP = "drop"
    """It never comes; the sender hears nothing for a while, then the connection ends."""
    RESET = "reset"
    """It comes, and the sender's connection is reset at once."""
    HALF_CLOSE = "half-close"
    """It comes, and the broker sees the sender's half of the connection closed after it."""
    SWALLOW = "swallowed-reply"
    """It is carried out, and the answer does not come back."""


Choose = Callable[[bytes], Fault | None]
"""Looks at a request's bytes and says what is to happen to it."""


class FaultProxy:
    """Listens on a free port of the loopback and passes on to ``port``. One request at a time per connection."""

    def __init__(self, port: int, choose: Choose) -> None:
        self._target, self._choose = port, choose
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        """Faults done so far, by kind."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "not started"  # noqa: S101
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server makes one
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await _Connection(self._choose, self.counts, reader, writer).carry(self._target)
        finally:
            self._connections.discard(task)
            writer.transport.abort()


class _Connection:
    def __init__(
        self, choose: Choose, counts: Counter[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._choose, self._counts, self._reader, self._writer = choose, counts, reader, writer
        self._swallow = False

    async def carry(self, port: int) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK_BYTES)
        tasks = {asyncio.create_task(self._requests(to_broker)), asyncio.create_task(self._answers(from_broker))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_broker.transport.abort()

    async def _requests(self, to_broker: asyncio.StreamWriter) -> None:
        while data := await self._reader.read(CHUNK_BYTES):
            fault = self._choose(data)
            if fault is not None:
                self._counts[fault.value] += 1
            if fault is Fault.LATENCY:
                await asyncio.sleep(LATE_SECONDS)
            elif fault is Fault.DROP:
                await asyncio.sleep(HANG_SECONDS)
                return
            self._swallow = fault is Fault.SWALLOW
            to_broker.write(data)
            await to_broker.drain()
            if fault is Fault.RESET:
                self._swallow = True
                self._writer.transport.abort()
                await asyncio.sleep(HANG_SECONDS)  # the broker goes on with it meanwhile
                return
            if fault is Fault.HALF_CLOSE:
                to_broker.write_eof()
                await self._reader.read(CHUNK_BYTES)  # until the sender has its answer, or gives up
                return

    async def _answers(self, from_broker: asyncio.StreamReader) -> None:
        while data := await from_broker.read(CHUNK_BYTES):
            if self._swallow:
                return
            self._writer.write(data)
            await self._writer.drain()
