"""Watches a run from outside: follows the streams, asks the broker for versions, fills a ``Timeline``.

It reads outside any consumer group, so that watching changes nothing, and goes on where it was when Redis or the
broker come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import httpx
import structlog

from ptzjepa.timeline import Timeline
from shared.broker.client import BrokerAway, BrokerClient
from shared.errors import UserError
from shared.messages import DreamBatch, Message, StreamName, Surprise, TrainingProgress, View
from shared.redis_client import REDIS_AWAY, RedisClients, RedisError
from shared.settings import ServiceSettings
from shared.streams import Follower, Received

M = TypeVar("M", bound=Message)

VERSIONS_EVERY = 3.0
AGAIN_SECONDS = 0.2
DRAIN_SECONDS = 5.0


class Recorder:
    """Fills ``timeline`` for as long as its block lasts.

    ``start`` is where the streams are read from: ``0-0`` sees everything, ``$`` only what comes from now on, which is
    right for a server that other runs use, too.
    """

    def __init__(self, settings: ServiceSettings, timeline: Timeline, *, start: str = "0-0") -> None:
        self._settings, self._start = settings, start
        self.timeline = timeline
        self._clients = RedisClients.from_settings(settings)
        self._broker = BrokerClient(settings)
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Recorder:
        camera = self._settings.camera
        timeline = self.timeline

        def on_view(received: Received[View]) -> None:
            timeline.add_view(received.message, received.blobs.get(View.JPEG))

        self._follow(StreamName.views(camera), View, on_view)
        self._follow(StreamName.surprise(camera), Surprise, lambda item: timeline.add_surprise(item.message))
        self._follow(StreamName.PROGRESS, TrainingProgress, lambda item: timeline.add_progress(item.message))
        self._follow(StreamName.DREAMS, DreamBatch, lambda item: timeline.add_dreams(item.message))
        self._versions = asyncio.create_task(self._watch_versions(), name="watch versions")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._tasks, self._versions):
            task.cancel()
        await asyncio.gather(*self._tasks, self._versions, return_exceptions=True)
        await self._clients.aclose()
        await self._broker.aclose()

    async def drain(self) -> None:
        """Read what is left: call it when the services have stopped, and before Redis and the broker do."""
        self._draining.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
        await self.ask_versions()

    async def ask_versions(self) -> None:
        """Ask the broker once for the versions of the world model and the agent; it may be away."""
        try:
            for model in (self._settings.world_model, self._settings.agent):
                await self._ask_versions_of(model)
        except (BrokerAway, UserError, RuntimeError, httpx.HTTPError) as error:
            self._log.debug("no versions", reason=str(error))

    async def _ask_versions_of(self, model: str) -> None:
        head = await self._broker.head(model)
        if head is None or head.version == self.timeline.newest_version(model):
            return
        # The whole list grows long; it is needed only when several versions came between two looks.
        missed = head.version - self.timeline.newest_version(model) > 1
        self.timeline.add_versions(model, await self._broker.versions(model) if missed else [head])

    def _follow(self, stream: str, kind: type[M], take: Callable[[Received[M]], None]) -> None:
        follower = Follower(self._clients, stream, kind, start=self._start)
        self._tasks.append(asyncio.create_task(self._read(follower, take), name=f"follow {stream}"))

    async def _read(self, follower: Follower[M], take: Callable[[Received[M]], None]) -> None:
        while True:
            last_round = self._draining.is_set()
            try:
                received = await follower.read(block_ms=20 if last_round else 500)
            except (*REDIS_AWAY, RedisError) as error:
                if last_round:
                    return
                self._log.debug("redis away", reason=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            for item in received:
                take(item)
            if last_round and not received:
                return

    async def _watch_versions(self) -> None:
        while not self._draining.is_set():
            await self.ask_versions()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), VERSIONS_EVERY)
