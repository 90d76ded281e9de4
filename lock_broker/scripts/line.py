"""The one connection that scripts go over: many calls on their way at once, each sent again once if it breaks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

CALL_SECONDS = 3.0
MOST_CALLS = 1024
"""Calls that may wait for their answers; more are refused at once."""


class Clock(Protocol):
    """Where scripts get the time: the host's boot clock, or a test's."""

    @property
    def boot(self) -> str:
        """Name of the host's boot that the time belongs to."""

    def now_ms(self) -> int:
        """Milliseconds since that boot."""


class Sendable(Protocol):
    """A Lua script."""

    @property
    def text(self) -> str:
        """Its source."""

    @property
    def sha1(self) -> str:
        """What the server calls it, once it knows it."""


@dataclass(slots=True)
class _Call:
    script: Sendable
    keys: Sequence[str]
    arguments: Sequence[str | int]
    answer: asyncio.Future[bytes]
    until: float
    whole: bool = False
    """The server does not know the script by its hash."""
    again: bool = False
    """It was on its way when a connection broke. Scripts may be carried out twice, but not for ever."""

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Line:
    """A pipelined connection. What is asked in one turn of the event loop goes out in one write.

    Every call is told the time, the boot and the run of the server that it is sent to: together the epoch that leases
    are counted in. The run is the connection's, so a call sent again after a restart counts in the new one.
    """

    def __init__(self, connect: Callable[[], AbstractConnection], clock: Clock) -> None:
        self._connect, self.clock = connect, clock
        self._waiting: deque[_Call] = deque()
        self._sent: deque[_Call] = deque()
        self._asked, self._due = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, script: Sendable, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """Run a script. Raises redis-py's errors when the server is away or refuses it."""
        if len(self._waiting) + len(self._sent) >= MOST_CALLS:
            raise ConnectionError(f"{MOST_CALLS} calls wait for Redis already")
        if not self._tasks:
            self._tasks = [asyncio.create_task(work()) for work in (self._serve, self._give_up)]
        loop = asyncio.get_running_loop()
        call = _Call(script, keys, arguments, loop.create_future(), loop.time() + CALL_SECONDS)
        self._waiting.append(call)
        self._asked.set()
        return await call.answer

    async def aclose(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._fail((*self._sent, *self._waiting), ConnectionError("the line is closed"))
        self._sent.clear()
        self._waiting.clear()

    async def _give_up(self) -> None:
        """Fail what takes too long. One task for all: a timer for each call takes longer than the call."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CALL_SECONDS / 10.0)
            now = loop.time()
            late = [call for call in (*self._sent, *self._waiting) if call.until <= now]
            self._fail(late, RedisTimeoutError(f"no answer in {CALL_SECONDS} s"))

    async def _serve(self) -> None:
        while True:
            await self._asked.wait()
            connection = self._connect()
            try:
                try:
                    run = await _run_id(connection)
                except (RedisError, OSError) as error:
                    # Nobody there: whoever waits is told so, and the next call tries again.
                    self._asked.clear()
                    self._fail(self._waiting, error)
                    continue
                await self._talk(connection, run)
            finally:
                await connection.disconnect(nowait=True)

    async def _talk(self, connection: AbstractConnection, run: str) -> None:
        """Use a connection until it breaks."""
        halves = [asyncio.create_task(half) for half in (self._write(connection, run), self._read(connection))]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            errors = await asyncio.gather(*halves, return_exceptions=True)
        broken = next((error for error in errors if isinstance(error, RedisError | OSError)), None)
        if broken is None:
            raise next(error for error in errors if isinstance(error, Exception))
        self._fail((call for call in self._sent if call.again), broken)
        unanswered = [call for call in self._sent if not call.answer.done()]
        self._sent.clear()
        for call in unanswered:
            call.again = True
        self._waiting.extendleft(reversed(unanswered))
        if self._waiting:
            self._asked.set()

    async def _write(self, connection: AbstractConnection, run: str) -> None:
        clock = self.clock
        while True:
            await self._asked.wait()
            self._asked.clear()
            packed: list[bytes] = []
            now, boot = clock.now_ms(), clock.boot
            while self._waiting:
                call = self._waiting.popleft()
                if call.answer.done():
                    continue
                packed.append(_packed(call, now, boot, run))
                self._sent.append(call)
            if packed:
                self._due.set()
                await connection.send_packed_command(b"".join(packed), check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            while not self._sent:
                self._due.clear()
                await self._due.wait()
            try:
                reply: Any = await connection.read_response(disable_decoding=True)
            except NoScriptError:
                call = self._sent.popleft()
                call.whole = True
                self._waiting.append(call)
                self._asked.set()
            except ResponseError as error:
                self._sent.popleft().fail(error)
            else:
                call = self._sent.popleft()
                if not call.answer.done():
                    call.answer.set_result(reply)

    @staticmethod
    def _fail(calls: Iterable[_Call], error: Exception) -> None:
        for call in calls:
            call.fail(error)


def _packed(call: _Call, *stamp: str | int) -> bytes:
    """Return a call as the protocol has it. redis-py's own way asks every value's type, and takes ten times as long."""
    script = ("EVAL", call.script.text) if call.whole else ("EVALSHA", call.script.sha1)
    values = [str(value) for value in (*script, len(call.keys), *call.keys, *stamp, *call.arguments)]
    lines = [f"*{len(values)}"]
    for value in values:
        lines += f"${len(value) if value.isascii() else len(value.encode())}", value
    return ("\r\n".join(lines) + "\r\n").encode()


async def _run_id(connection: AbstractConnection) -> str:
    """Connect, and return the name of the server's run: another one each time it starts."""
    await connection.connect()  # type: ignore[no-untyped-call]
    await connection.send_command("INFO", "server")
    text: Any = await connection.read_response(disable_decoding=True)
    for entry in text.decode().splitlines():
        name, _, value = entry.partition(":")
        if name == "run_id":
            return str(value)
    raise ConnectionError("the server does not say its run_id")
