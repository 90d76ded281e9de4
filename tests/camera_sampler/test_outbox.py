"""The sampler with a spool: it looks on while Redis is away, and what it saw arrives in order, once each."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from PIL import Image
from redis import Redis

from camera_sampler.settings import SamplerSettings
from camera_sampler.spool import Spool
from shared.messages import StreamName, View
from shared.redis_client import RedisClients
from shared.streams import FIELD
from tests.camera_sampler.sampling import at_least, check_chain, eventually, fast, metric, running, views
from tests.camera_sampler.spooling import a_view
from tests.conftest import RedisServer
from tests.support import Process, until

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def spooling(own_redis_server: RedisServer, tmp_path: Path) -> SamplerSettings:
    return fast(own_redis_server.url, spool=tmp_path / "spool", policy="random-walk", views_per_second=50.0)


@pytest.fixture
async def link(spooling: SamplerSettings) -> AsyncIterator[RedisClients]:
    connections = RedisClients.from_settings(spooling)
    yield connections
    await connections.aclose()


def left(settings: SamplerSettings) -> set[str]:
    """The views in a stopped sampler's spool: its last ones, where Redis was slow just then."""
    assert settings.spool is not None
    spool = Spool(settings.spool / "camera-0.sqlite3", most_bytes=10**9, most_seconds=1e9, dropped=lambda *_: None)
    try:
        return {item.view.id for item in spool.oldest(10**6)}
    finally:
        spool.close()


async def test_looks_on_while_redis_is_away(
    own_redis_server: RedisServer, spooling: SamplerSettings, link: RedisClients
) -> None:
    async with running(spooling, link) as sampler:
        for _ in range(2):
            before = len(await at_least(link, len(await views(link)) + 8))
            taken = metric(sampler, "views_total", policy="random-walk")
            await asyncio.to_thread(own_redis_server.kill)

            async def many(taken: float = taken) -> bool:
                return metric(sampler, "views_total", policy="random-walk") > taken + 20

            await eventually(many)
            assert metric(sampler, "spool_views") > 10
            assert metric(sampler, "spool_bytes") > 10 * 512
            assert "redis" in sampler.not_ready
            await asyncio.to_thread(own_redis_server.start)
            await at_least(link, before + 20)

            async def drained() -> bool:
                return metric(sampler, "spool_views") == 0.0 and "redis" not in sampler.not_ready

            await eventually(drained)
        assert metric(sampler, "spool_replayed_total") >= 40.0
    found = await views(link)
    ids = {item.message.id for item in found}
    assert len(ids) == len(found)
    check_chain(found, movements=4)
    assert len(ids | left(spooling)) == metric(sampler, "views_total", policy="random-walk")
    assert metric(sampler, "spool_dropped_views_total", reason="disk") == 0.0


async def test_a_frozen_redis_does_not_hold_the_camera(
    own_redis_server: RedisServer, spooling: SamplerSettings, link: RedisClients
) -> None:
    async with running(spooling, link) as sampler:
        await at_least(link, 8)
        own_redis_server.kill(signal.SIGSTOP)
        try:

            async def spooled() -> bool:
                return metric(sampler, "spool_views") > 20

            await eventually(spooled)
        finally:
            own_redis_server.kill(signal.SIGCONT)

        async def drained() -> bool:
            return metric(sampler, "spool_views") == 0.0

        await eventually(drained)
    # What the frozen server had taken from the socket may stand there twice, with the same id; consumers drop it.
    found = {item.message.id: item for item in await views(link)}
    check_chain(list(found.values()), movements=4)
    assert len(found.keys() | left(spooling)) == metric(sampler, "views_total", policy="random-walk")


async def test_what_landed_before_the_crash_is_not_sent_again(spooling: SamplerSettings, link: RedisClients) -> None:
    assert spooling.spool is not None
    spool = Spool(spooling.spool / "camera-0.sqlite3", most_bytes=10**6, most_seconds=1e6, dropped=lambda *_: None)
    waiting = [a_view("a", step) for step in range(50)]
    for view in waiting:
        spool.append(view, b"jpeg")
    spool.close()
    for view in waiting[:5]:
        await link.commands.xadd(StreamName.views("camera-0"), {FIELD: view.model_dump_json(), "jpeg": b"jpeg"})
    async with running(spooling, link):
        found = await at_least(link, 53)
    assert [item.message.id for item in found[:50]] == [view.id for view in waiting]


async def test_a_full_disk_leaves_the_camera_looking(
    own_redis_server: RedisServer, spooling: SamplerSettings, link: RedisClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(spooling, link) as sampler:
        before = len(await at_least(link, 8))
        append, full = Spool.append, True

        def maybe(spool: Spool, view: View, jpeg: bytes) -> bool:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return append(spool, view, jpeg)

        monkeypatch.setattr(Spool, "append", maybe)
        await asyncio.to_thread(own_redis_server.kill)

        async def lost() -> bool:
            return metric(sampler, "spool_dropped_views_total", reason="disk") > 5

        await eventually(lost)
        full = False

        async def kept() -> bool:
            return metric(sampler, "spool_views") > 5

        await eventually(kept)
        await asyncio.to_thread(own_redis_server.start)
        await at_least(link, before + 12)
    check_chain(await views(link), movements=4)


async def test_the_bound_drops_whole_episodes_and_counts(spooling: SamplerSettings) -> None:
    settings = spooling.model_copy(update={"redis_url": NOWHERE, "spool_bytes": 2**16})
    connections = RedisClients.from_settings(settings)
    try:
        async with running(settings, connections) as sampler:

            async def dropping() -> bool:
                return metric(sampler, "spool_dropped_episodes_total", reason="bytes") >= 3.0

            await eventually(dropping)
            assert metric(sampler, "spool_bytes") <= 2**16
            assert metric(sampler, "spool_dropped_views_total", reason="bytes") % 5 == 0
    finally:
        await connections.aclose()
    assert settings.spool is not None
    spool = Spool(settings.spool / "camera-0.sqlite3", most_bytes=2**16, most_seconds=1e6, dropped=lambda *_: None)
    left = [item.view for item in spool.oldest(100)]
    spool.close()
    assert left[0].step == 0
    assert all(after.previous in (before.id, None) for before, after in pairwise(left))


def in_stream(server: RedisServer) -> list[View]:
    with Redis.from_url(server.url, protocol=2) as client:
        entries = client.xrange(StreamName.views("camera-0"))
    return [View.model_validate_json(fields[FIELD]) for _, fields in entries]


def spooled(process: Process) -> float:
    lines = httpx.get(f"{process.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("ptz_camera_sampler_spool_views "))


def test_a_killed_sampler_replays_after_its_restart(own_redis_server: RedisServer, tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    Image.effect_noise((256, 128), 90).convert("RGB").save(picture)
    process = Process(
        tmp_path / "process",
        "-m",
        "camera_sampler",
        redis_url=own_redis_server.url,
        panorama=str(picture),
        admin_host="127.0.0.1",
        admin_port="0",
        time_scale="50",
        views_per_second="40",
        movements="4",
        policy="random-walk",
        spool=str(tmp_path / "spool"),
    )
    with process.start().ready():
        until(lambda: len(in_stream(own_redis_server)) >= 5)
        own_redis_server.kill()
        until(lambda: spooled(process) >= 25)
        process.send(signal.SIGKILL)
        with process.start():
            # It starts without Redis, keeps what it found, and goes on behind it.
            until(lambda: spooled(process) >= 50)
            own_redis_server.start()
            process.ready()
            until(lambda: spooled(process) == 0.0)
            until(lambda: len(in_stream(own_redis_server)) >= 60)
            process.send(signal.SIGTERM)
            assert process.wait() == 0
    found = in_stream(own_redis_server)
    assert len({view.id for view in found}) == len(found)
    assert [view.captured_at for view in found] == sorted(view.captured_at for view in found)
    for before, after in pairwise(found):
        assert (after.previous, after.step) in ((before.id, before.step + 1), (None, 0))
    # One episode was cut short by the kill, and the last one by the stop.
    cut = [before for before, after in pairwise(found) if after.step == 0 and before.step != 4]
    assert len(cut) <= 1
    assert process.log.count("spool found") == 1


def test_a_spool_that_cannot_be_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Process(
        tmp_path / "process", "-m", "camera_sampler", redis_url=NOWHERE, admin_port="0", spool=str(tmp_path / "file")
    ) as process:
        assert process.wait() == 2
        assert "PTZ_SPOOL" in process.log
        assert "Traceback" not in process.log
