"""Views per second through ``shared.streams``, beside the same bytes through bare redis-py, in one process.

Both talk to one embedded server on a unix socket. They take turns, so that a busy machine slows both alike.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, main
from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from shared.messages import View, utc_now
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from shared.streams import FIELD, Consumer, publish
from shared.supervision import Supervisor

MESSAGES = 2000
REPEATS = 5
JPEG_BYTES = 2300
"""With its message this makes an entry of about 3 kB, as a view of 64 × 64 pixels does."""
BATCH = 64
LENGTH = 20_000


def a_view(step: int) -> View:
    """Make the message of a view."""
    pose = Pose(pan=12.5, tilt=-3.25, zoom=2.0)
    return View(
        camera="north",
        pose=pose,
        pose_before=pose,
        captured_at=utc_now(),
        episode="0123456789abcdef",
        step=step,
        previous="0123456789abcdef0123456789abcdef",
        limits=PoseLimits(),
        policy="agent",
        policy_version=3,
        width=64,
        height=64,
    )


class Lanes:
    """The four measured ways. Each returns entries per second."""

    def __init__(self, clients: RedisClients) -> None:
        self._clients, self._redis = clients, clients.commands
        self._jpeg = bytes(range(256)) * (JPEG_BYTES // 256 + 1)
        self._jpeg = self._jpeg[:JPEG_BYTES]

    async def bare_publish(self, stream: str) -> float:
        """XADD of ready-made bytes."""
        fields: dict[Any, Any] = {FIELD: a_view(0).model_dump_json().encode(), b"jpeg": self._jpeg}
        started = time.perf_counter()
        for _ in range(MESSAGES):
            await self._redis.xadd(stream, fields, maxlen=LENGTH, approximate=True)
        return MESSAGES / (time.perf_counter() - started)

    async def our_publish(self, stream: str) -> float:
        """``publish``: the message is made, checked and turned into JSON as well."""
        started = time.perf_counter()
        for step in range(MESSAGES):
            await publish(self._redis, stream, a_view(step), {"jpeg": self._jpeg}, max_length=LENGTH)
        return MESSAGES / (time.perf_counter() - started)

    async def bare_consume(self, stream: str) -> float:
        """XREADGROUP and XACK; nobody looks at the bytes."""
        await self._redis.xgroup_create(stream, "bare", id="0")
        place: dict[Any, Any] = {stream: ">"}
        read, started = 0, time.perf_counter()
        while read < MESSAGES:
            reply: Any = await self._redis.xreadgroup("bare", "one", place, count=BATCH)
            entries = reply[0][1]
            await self._redis.xack(stream, "bare", *[entry_id for entry_id, _ in entries])
            read += len(entries)
        return MESSAGES / (time.perf_counter() - started)

    async def our_consume(self, stream: str) -> float:
        """``Consumer``: checked messages, each handled once, claims and dead letters looked after."""
        consumer = Consumer(self._clients, stream, View, group="ours", name="one")
        await consumer.create_group()
        read, started = 0, time.perf_counter()
        while read < MESSAGES:
            received = await consumer.read(count=BATCH)
            await consumer.done(received)
            read += len(received)
        return MESSAGES / (time.perf_counter() - started)


async def _measure(directory: Path) -> list[Row]:
    supervisor = Supervisor()
    supervisor.start(redis_child(directory))
    await wait_until_up(directory)
    clients = RedisClients.from_settings(ServiceSettings(redis_url=redis_url(directory)))
    rates: dict[str, list[float]] = {"bare publish": [], "publish": [], "bare consume": [], "consume": []}
    try:
        lanes = Lanes(clients)
        for turn in range(REPEATS + 1):
            bare, ours = f"bench:bare:{turn}", f"bench:ours:{turn}"
            steps: list[tuple[str, Callable[[str], Awaitable[float]], str]] = [
                ("bare publish", lanes.bare_publish, bare),
                ("publish", lanes.our_publish, ours),
                ("bare consume", lanes.bare_consume, ours),
                ("consume", lanes.our_consume, ours),
            ]
            for name, lane, stream in steps:
                rate = await lane(stream)
                if turn:  # the first turn warms up
                    rates[name].append(rate)
            await clients.commands.flushall()
    finally:
        await clients.aclose()
        await supervisor.stop_all()
    median = {name: statistics.median(values) for name, values in rates.items()}
    return [
        Row("publish views of 3 kB (beside XADD)", median["publish"], "1/s", reference=median["bare publish"]),
        Row("consume them (beside XREADGROUP)", median["consume"], "1/s", reference=median["bare consume"]),
    ]


def measure() -> list[Row]:
    """Measure on a server of our own."""
    directory = Path(tempfile.mkdtemp(prefix="ptz-bench-"))
    try:
        return asyncio.run(_measure(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main("streams", measure))
