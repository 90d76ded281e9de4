"""How views get into the stream: straight while Redis answers, by way of the spool while it does not.

Without a spool the camera waits for Redis with one view in hand. With one it goes on looking; the views of a camera
reach the stream in the order in which they were taken either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from camera_sampler.settings import SamplerSettings
from camera_sampler.spool import REASONS, Reason, Spool, Spooled
from shared.messages import StreamName, View
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.service import Service
from shared.streams import look_back, publish

DIRECT_SECONDS = 1.0
"""How long the camera waits for a Redis that does not answer, once, before the spool takes its views."""
BATCH = 32
_RETRY_SECONDS = 1.0
_AWAY = (*REDIS_AWAY, OutOfMemoryError, ReadOnlyError)
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Outbox:
    """Takes the views of one camera. ``lost(episode)`` says when the chain of an episode is broken behind it."""

    def __init__(self, service: Service[SamplerSettings]) -> None:
        self._service, self._settings, self._log = service, service.settings, service.log
        self._stream = StreamName.views(self._settings.camera)
        self._clients: RedisClients | None = None
        self._waiting = asyncio.Event()
        self._unsure = True
        """Whether the newest views in the stream may still stand in the spool."""
        self._troubled = self._dropping = False
        self._spool: Spool | None = None
        metrics = service.metrics
        self._publish = metrics.histogram(
            "publish_seconds", "From a verified view to its place in the stream or the spool", buckets=_SECONDS
        )
        self._waits = metrics.counter("publish_waits", "Views that had to wait for Redis")
        self._replayed = metrics.counter("spool_replayed", "Views from the spool that reached the stream")
        self._dropped_views = metrics.counter("spool_dropped_views", "Views given up, by reason", ("reason",))
        self._dropped_episodes = metrics.counter("spool_dropped_episodes", "Episodes given up, by reason", ("reason",))
        for reason in REASONS:
            self._dropped_views.labels(reason)
            self._dropped_episodes.labels(reason)
        spooled = metrics.gauge("spool_views", "Views in the spool")
        spooled.set_function(lambda: float(self._spool.views) if self._spool else 0.0)
        size = metrics.gauge("spool_bytes", "Bytes that the views in the spool take")
        size.set_function(lambda: float(self._spool.size) if self._spool else 0.0)

    @property
    def spools(self) -> bool:
        """Whether there is a spool, so that nothing here waits for Redis."""
        return self._settings.spool is not None

    @property
    def _commands(self) -> Redis:
        if self._clients is None:
            raise RuntimeError("the outbox is not open")
        return self._clients.commands

    def lost(self, episode: str) -> bool:
        """Tell whether views of this episode were given up, so that no further one may follow."""
        return self._spool is not None and self._spool.lost(episode)

    @contextlib.asynccontextmanager
    async def open(self, clients: RedisClients) -> AsyncIterator[None]:
        """Have the spool open for as long as the block lasts. ``UserError`` where it cannot be."""
        self._clients, settings = clients, self._settings
        if settings.spool is not None:
            self._spool = await asyncio.to_thread(
                Spool,
                settings.spool / f"{settings.camera}.sqlite3",
                most_bytes=settings.spool_bytes,
                most_seconds=settings.spool_seconds,
                dropped=self._note_dropped,
            )
            if self._spool.views:
                self._log.info("spool found", views=self._spool.views)
                self._waiting.set()
        try:
            yield
        finally:
            if self._spool is not None:
                await asyncio.to_thread(self._spool.close)

    async def send(self, view: View, jpeg: bytes) -> bool:
        """Publish or spool a view. False: it is lost, and its episode ends before it."""
        began = time.monotonic()
        spool, stopping = self._spool, self._service.stopping.is_set()
        try:
            if spool is None:
                return await (self._try(view, jpeg) if stopping else self._wait_and_send(view, jpeg))
            if spool.lost(view.episode):
                return False
            if not spool.views and not self._waiting.is_set() and await self._try(view, jpeg):
                return True
            self._waits.inc()
            return await self._keep(spool, view, jpeg)
        finally:
            self._publish.observe(time.monotonic() - began)

    async def replay(self) -> None:
        """Move views from the spool to the stream whenever Redis takes them, until cancelled or told to stop."""
        spool = self._spool
        while spool is not None and not self._service.stopping.is_set():
            await self._waiting.wait()
            try:
                await self._drain(spool)
            except OSError as error:
                self._note_trouble(error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _wait_and_send(self, view: View, jpeg: bytes) -> bool:
        attempts = 0

        async def attempt() -> str:
            nonlocal attempts
            attempts += 1
            # The same view with the same id each time: an attempt whose answer was lost does no harm.
            return await self._xadd(view, jpeg)

        sent = await self._service.redis(attempt)
        if attempts > 1:
            self._waits.inc()
        return sent is not None

    async def _try(self, view: View, jpeg: bytes) -> bool:
        with contextlib.suppress(*_AWAY):
            async with asyncio.timeout(DIRECT_SECONDS):
                return bool(await self._xadd(view, jpeg))
        return False

    async def _keep(self, spool: Spool, view: View, jpeg: bytes) -> bool:
        try:
            kept = await asyncio.to_thread(spool.append, view, jpeg)
        except OSError as error:
            self._dropped_views.labels("disk").inc()
            self._note_trouble(error)
            return False
        if kept:
            self._unsure = True
            self._waiting.set()
        else:
            self._dropped_views.labels("bytes").inc()
        return kept

    async def _drain(self, spool: Spool) -> None:
        while batch := await asyncio.to_thread(spool.oldest, BATCH):
            sent: list[Spooled] = []
            send = functools.partial(self._send_all, batch, sent)
            try:
                await self._service.outlast(send, part="redis", away=_AWAY)
            finally:
                # Whatever ended it, the stop included: what arrived need not be sent again.
                self._unsure = True
                await asyncio.to_thread(spool.remove, sent)
                self._replayed.inc(len(sent))
            self._unsure = len(sent) < len(batch)
            if self._service.stopping.is_set():
                return
        self._troubled = self._dropping = False
        if not spool.views:
            self._waiting.clear()
            self._unsure = True

    async def _send_all(self, batch: list[Spooled], sent: list[Spooled]) -> None:
        landed: set[str] = set()
        if self._unsure:
            # A view whose answer was lost, or whose removal from the spool was, stands at the stream's end already.
            newest = await look_back(self._commands, self._stream, View, BATCH)
            landed = {received.message.id for received in newest}
            self._unsure = False
        for item in batch[len(sent) :]:
            if item.view.id not in landed:
                # Of a view that fails here nobody knows whether it arrived.
                self._unsure = True
                await self._xadd(item.view, item.jpeg)
                self._unsure = False
            sent.append(item)

    def _note_dropped(self, reason: Reason, views: int) -> None:
        self._dropped_episodes.labels(reason).inc()
        self._dropped_views.labels(reason).inc(views)
        if not self._dropping:
            self._dropping = True
            self._log.warning("spool drops its oldest episodes", reason=reason)

    def _note_trouble(self, error: OSError) -> None:
        if not self._troubled:
            self._troubled = True
            self._log.warning("spool cannot be used", reason=str(error.strerror or error)[:200])

    async def _xadd(self, view: View, jpeg: bytes) -> str:
        return await publish(
            self._commands,
            self._stream,
            view,
            {View.JPEG: jpeg},
            max_length=self._settings.views_stream_length,
        )
