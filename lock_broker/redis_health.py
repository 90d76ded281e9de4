"""How Redis is: what it says of its memory, its append-only file and its clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from redis.asyncio import Redis

from lock_broker.metrics import BrokerMetrics
from shared.redis_client import ResponseError

EVERY = 5
"""Beats of the broker from one look to the next: some ten seconds."""


class RedisHealth:
    """Asks Redis how it is. A user that may not ask learns nothing, and the broker works all the same."""

    def __init__(self, redis: Redis, metrics: BrokerMetrics) -> None:
        self._redis, self._metrics = redis, metrics
        self._beats = 0

    async def beat(self) -> None:
        """Look at every few calls. Raises redis-py's errors while Redis is away."""
        self._beats += 1
        if self._beats % EVERY == 1:
            await self.look()

    async def look(self) -> None:
        """Ask, and export the answer."""
        try:
            told = cast(Mapping[str, Any], await self._redis.info())
        except ResponseError:
            return
        metrics = self._metrics
        metrics.redis_memory.set(told["used_memory"])
        # Without a limit of its own Redis has the machine's.
        metrics.redis_memory_limit.set(told["maxmemory"] or told["total_system_memory"])
        metrics.redis_clients.set(told["connected_clients"])
        states = {told["aof_last_write_status"], told["aof_last_bgrewrite_status"]}
        metrics.redis_append_failing.set(bool(told["aof_enabled"]) and states != {"ok"})
