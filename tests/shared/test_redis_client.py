"""Two properties that redis-py does not have by default: nothing is sent twice, and blocking reads end on time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from shared.errors import UserError
from shared.messages import TrainingProgress
from shared.redis_client import REDIS_AWAY, RedisClients, redact_url
from shared.settings import ServiceSettings
from shared.streams import Follower
from tests.conftest import RedisServer


@pytest.fixture
async def own_clients(own_redis_server: RedisServer) -> AsyncIterator[RedisClients]:
    connections = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url), command_seconds=0.3)
    yield connections
    await connections.aclose()


async def test_a_command_is_never_sent_twice(own_clients: RedisClients, own_redis_server: RedisServer) -> None:
    await own_clients.commands.set("n", 0)
    own_redis_server.kill(signal.SIGSTOP)
    # It wakes up after the time-out, while a client that tries again would be at it.
    asyncio.get_running_loop().call_later(0.5, own_redis_server.kill, signal.SIGCONT)
    with pytest.raises(REDIS_AWAY):
        await own_clients.commands.incr("n")
    await asyncio.sleep(1.0)
    assert int(await own_clients.commands.get("n") or 0) == 1, "the one that was sent counts, and no other"


async def test_a_command_works_after_a_restart(own_clients: RedisClients, own_redis_server: RedisServer) -> None:
    await own_clients.commands.set("n", 7)
    own_redis_server.kill()
    with pytest.raises(REDIS_AWAY):
        await own_clients.commands.get("n")
    await asyncio.to_thread(own_redis_server.start)
    assert await own_clients.commands.get("n") == b"7"


async def test_a_blocking_read_returns_on_time(clients: RedisClients) -> None:
    async with asyncio.timeout(10):
        assert not await clients.blocking.xread({"nothing": "0-0"}, block=700)


async def test_a_blocking_read_outlasts_the_command_timeout(own_clients: RedisClients) -> None:
    assert not await own_clients.blocking.xread({"nothing": "0-0"}, block=900)


async def test_a_blocking_read_does_not_hang_on_a_frozen_server(
    own_clients: RedisClients, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.streams.BLOCK_GRACE_SECONDS", 0.3)
    follower = Follower(own_clients, "ptz:progress", TrainingProgress, start="0-0")
    own_redis_server.kill(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(REDIS_AWAY):
                await follower.read(block_ms=100)
    finally:
        own_redis_server.kill(signal.SIGCONT)
    assert await follower.read(block_ms=10) == []


async def test_a_crowd_waits_for_connections(clients: RedisClients) -> None:
    await asyncio.gather(*(clients.commands.incr("{lk}:n") for _ in range(500)))
    assert await clients.commands.get("{lk}:n") == b"500"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pass@host:6379/0", "redis://host:6379/0"),
        ("redis://:p@s/s:w?rd@host/0", "redis://host/0"),
        ("unix:///tmp/x.sock?password=secret", "unix:///tmp/x.sock"),
        ("redis://host/0", "redis://host/0"),
        ("secret", "(no URL)"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "url", ["http://:hunter2@host", "redis://:hun/ter2@host:6379", "hunter2", "redis://[:hunter2@x"]
)
def test_a_wrong_url_is_the_users_error_and_shows_no_secret(url: str) -> None:
    with pytest.raises(UserError, match="PTZ_REDIS_URL") as error:
        RedisClients.from_settings(ServiceSettings(redis_url=url))
    for secret in ("hunter2", "hun/", "ter2"):
        assert secret not in str(error.value)
    assert error.value.__cause__ is None
