"""Those who stand in line at this broker, and how they hear that it is their turn.

The line itself is in Redis. A message on a channel says whose turn it is; it is a hint and may be lost, so whoever
waits looks again every second, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import structlog
from redis.asyncio import Redis

from lock_broker import keys
from shared.redis_client import RedisError

RECHECK_SECONDS = 1.0
SOONEST_SECONDS = 0.01
"""A lease that is about to run out is not looked at more often."""
AGAIN_SECONDS = 0.5


class Waiter:
    """A request that stands in line. ``bell`` rings when it may be its turn, its asker hung up, or the broker stops."""

    def __init__(self) -> None:
        self.bell = asyncio.Event()
        self.gone = False

    async def pause(self, seconds: float) -> None:
        """Wait for the bell, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, SOONEST_SECONDS)):
                await self.bell.wait()

    async def watch(self, hung_up: Callable[[], Awaitable[object]]) -> None:
        """Ring when the asker hangs up."""
        await hung_up()
        self.gone = True
        self.bell.set()


class WaitingRoom:
    """The waiters of this process, by request. A request may come twice, when a client lost patience with the first."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = {}
        self.closed = False

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiters.values())

    def others(self, request_id: str, waiter: Waiter) -> bool:
        """Say whether somebody else waits here for the same request."""
        return bool(self._waiters.get(request_id, set()) - {waiter})

    @contextlib.contextmanager
    def enter(self, request_id: str) -> Iterator[Waiter]:
        """Hear the bell for as long as the block lasts. Enter before asking: a turn must not come in between."""
        waiter = Waiter()
        waiters = self._waiters.setdefault(request_id, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[request_id]

    def call(self, request_id: str) -> None:
        """Ring for one request."""
        for waiter in self._waiters.get(request_id, ()):
            waiter.bell.set()

    def call_all(self) -> None:
        """Ring for everybody: messages may have been lost."""
        for request_id in self._waiters:
            self.call(request_id)

    def close(self) -> None:
        """Let nobody wait any more: the broker stops."""
        self.closed = True
        self.call_all()

    async def listen(self, redis: Redis) -> None:
        """Ring for those whose turn it is, until cancelled. ``redis``: the connection for reads that wait."""
        log = structlog.get_logger()
        while True:
            try:
                async with redis.pubsub() as channel:
                    await channel.subscribe(keys.FREE)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self.call(message["data"].decode())
                        else:
                            self.call_all()
            except (RedisError, OSError) as error:
                log.info("wake-ups interrupted", reason=f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(AGAIN_SECONDS)
