"""Reports to Waggle at a bounded pace: how many views, where the camera looks, how it is, what surprised the model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime

from camera_sampler.settings import SamplerSettings
from camera_sampler.waggle import Waggle
from shared.messages import StreamName, Surprise, View, utc_now
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.service import Service
from shared.streams import look_back

_SURPRISES = 64
_UNITS = {"pan": "degrees", "tilt": "degrees", "zoom": "magnification"}


class Reports:
    """Collects between two reports. Does nothing unless ``PTZ_WAGGLE=on``."""

    def __init__(self, service: Service[SamplerSettings]) -> None:
        self._service, self._settings = service, service.settings
        self._waggle = Waggle(service.metrics)
        self._views = 0
        self._newest: View | None = None
        self._reported: View | None = None
        self._surprised_until = utc_now()
        self._next_upload = 0.0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have pywaggle running for as long as the block lasts; what waits at its end is flushed, for a while."""
        if self._settings.waggle == "off":
            yield
            return
        await asyncio.to_thread(self._waggle.start)
        try:
            yield
        finally:
            self._report()
            await asyncio.to_thread(self._waggle.close)

    async def run(self, clients: RedisClients) -> None:
        """Report until told to stop."""
        while self._settings.waggle == "on" and not await self._service.pause(self._settings.waggle_seconds):
            self._report()
            await self._report_surprise(clients)

    def note(self, view: View, picture: bytes) -> None:
        """Take a view into account, and upload its untouched picture when that is due."""
        self._views += 1
        self._newest = view
        now, every = time.monotonic(), self._settings.waggle_upload_seconds
        if self._settings.waggle == "off" or every is None or now < self._next_upload:
            return
        self._next_upload = now + every
        suffix = "jpg" if picture.startswith(b"\xff\xd8") else "png"
        poses = {axis: f"{value:.3f}" for axis, value in zip(_UNITS, view.pose.as_tuple(), strict=True)}
        labels = {"camera": view.camera, "view": view.id, "settled": str(view.settled).lower()}
        name = f"{view.camera}-{view.captured_at:%Y%m%dT%H%M%S.%fZ}.{suffix}"
        self._waggle.upload(name, picture, _nanoseconds(view.captured_at), labels | poses)

    def _report(self) -> None:
        now, camera = time.time_ns(), {"camera": self._settings.camera}
        self._waggle.publish("ptz.view.count", self._views, now, camera)
        self._waggle.publish("ptz.camera.healthy", int("camera" not in self._service.not_ready), now, camera)
        view = self._newest
        if view is not None and view is not self._reported:
            self._reported = view
            taken = _nanoseconds(view.captured_at)
            for (axis, units), value in zip(_UNITS.items(), view.pose.as_tuple(), strict=True):
                self._waggle.publish(f"ptz.pose.{axis}", float(value), taken, {**camera, "units": units})

    async def _report_surprise(self, clients: RedisClients) -> None:
        """Publish the mean of the newest surprises since the last report; a Redis that is away costs that one."""
        stream = StreamName.surprise(self._settings.camera)
        try:
            found = await look_back(clients.commands, stream, Surprise, _SURPRISES)
        except REDIS_AWAY:
            return
        fresh = [item.message for item in found if item.message.time > self._surprised_until]
        if fresh:
            self._surprised_until = fresh[-1].time
            mean = sum(item.error for item in fresh) / len(fresh)
            labels = {"camera": self._settings.camera, "world_model": fresh[-1].world_model, "views": str(len(fresh))}
            self._waggle.publish("ptz.surprise", mean, _nanoseconds(fresh[-1].time), labels)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
