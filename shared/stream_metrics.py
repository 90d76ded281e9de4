"""What operators see of the streams that a service reads: how far behind it is, and what it could not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from shared.redis_client import REDIS_AWAY, ResponseError
from shared.streams import Consumer
from shared.telemetry import Metrics

LOOK_SECONDS = 5.0


class StreamMetrics:
    """Gauges by stream, called by what it carries rather than by its name: ``views``, ``dreams``."""

    def __init__(self, metrics: Metrics, *streams: str) -> None:
        labels = ("stream",)
        self._entries = metrics.gauge("stream_entries", "Entries of a stream that this service reads", labels)
        self._unread = metrics.gauge("stream_unread_entries", "Entries that were not given to this service yet", labels)
        self._unfinished = metrics.gauge("stream_unfinished_entries", "Entries given to it and not done", labels)
        self._behind = metrics.gauge(
            "stream_lag_seconds", "From the newest entry given to this service to the newest of the stream", labels
        )
        self._dead = metrics.counter("dead_letters", "Entries put on the dead-letter stream", labels)
        self._counted = dict.fromkeys(streams, 0)
        for stream in streams:
            self._dead.labels(stream)
            self._forget(stream)

    @contextlib.asynccontextmanager
    async def watching(self, stream: str, consumer: Consumer[Any]) -> AsyncIterator[None]:
        """Look at one stream every few seconds for as long as the block lasts."""
        task = asyncio.create_task(self._watch(stream, consumer))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self, stream: str, consumer: Consumer[Any]) -> None:
        """Ask Redis once. While it is away, or the stream is not there yet, nothing is known."""
        buried = consumer.dead_lettered
        self._dead.labels(stream).inc(buried - self._counted[stream])
        self._counted[stream] = buried
        try:
            found = await consumer.standing()
        except (*REDIS_AWAY, ResponseError):
            self._forget(stream)
            return
        self._entries.labels(stream).set(found.entries)
        self._unread.labels(stream).set(float("nan") if found.unread is None else found.unread)
        self._unfinished.labels(stream).set(found.unfinished)
        self._behind.labels(stream).set(found.behind_seconds)

    async def _watch(self, stream: str, consumer: Consumer[Any]) -> None:
        while True:
            await self.look(stream, consumer)
            await asyncio.sleep(LOOK_SECONDS)

    def _forget(self, stream: str) -> None:
        for gauge in (self._entries, self._unread, self._unfinished, self._behind):
            gauge.labels(stream).set(float("nan"))
