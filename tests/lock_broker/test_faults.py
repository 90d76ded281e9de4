"""Killed and frozen: brokers, Redis, holders. Through the client that every service uses."""

# ruff: noqa: ASYNC210 - a test asks and waits; nothing else runs in its loop meanwhile that must go on

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from shared.broker.client import BrokerAway, BrokerClient, LeaseHeld
from shared.errors import UserError
from shared.leases import CommitRequest, LeaseRequest
from shared.messages import Checkpoint
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.support import Process, until

RESOURCE, MODEL = "world-model/wm_00_00", "wm_00_00"


@pytest.fixture
def broker(own_redis_server: RedisServer, tmp_path: Path) -> Iterator[Process]:
    """A broker and a Redis of the test's own, to be harmed; always on the same port."""
    with broker_process(tmp_path, own_redis_server) as process:
        port = process.ready().url.rpartition(":")[2]
        process.environment["PTZ_BROKER_PORT"] = port
        yield process


@pytest.fixture
async def client(broker: Process) -> AsyncIterator[BrokerClient]:
    connection = BrokerClient(ServiceSettings(broker_url=broker.url))
    yield connection
    await connection.aclose()


def commit(lease_id: str, token: int, *, expected: int = 0) -> CommitRequest:
    return CommitRequest(
        lease_id=lease_id, token=token, expected_head=expected, checkpoint=Checkpoint.of("world-models/x", b"x")
    )


async def test_leases_survive_kills_of_broker_and_redis(
    broker: Process, client: BrokerClient, own_redis_server: RedisServer
) -> None:
    request = LeaseRequest(resource=RESOURCE, holder="first", ttl_ms=120_000)
    lease = await client.acquire(request)
    await client.commit(MODEL, commit(lease.lease_id, lease.token))

    broker.send(signal.SIGKILL)
    with pytest.raises(BrokerAway):
        await client.acquire(request)
    broker.start().ready()
    assert (await client.acquire(request)).lease_id == lease.lease_id

    own_redis_server.kill()
    with pytest.raises(BrokerAway):
        await client.renew(lease.lease_id, 120_000)
    answer = httpx.get(f"{broker.url}/v1/leases")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert httpx.get(f"{broker.url}/healthz").status_code == 200
    assert httpx.get(f"{broker.url}/readyz").status_code == 503
    await asyncio.to_thread(own_redis_server.start)
    broker.ready()
    assert (await client.renew(lease.lease_id, 120_000)).token == lease.token
    with pytest.raises(LeaseHeld, match="first"):
        await client.acquire(LeaseRequest(resource=RESOURCE, holder="second"))
    head = await client.head(MODEL)
    assert head is not None
    assert (await client.commit(MODEL, commit(lease.lease_id, lease.token, expected=1))).version == 2


async def test_a_frozen_redis_is_503_and_the_broker_recovers(broker: Process, own_redis_server: RedisServer) -> None:
    own_redis_server.kill(signal.SIGSTOP)
    try:
        assert httpx.get(f"{broker.url}/v1/leases", timeout=20).status_code == 503
        assert httpx.get(f"{broker.url}/healthz").status_code == 200
        assert httpx.get(f"{broker.url}/readyz", timeout=20).status_code == 503
    finally:
        own_redis_server.kill(signal.SIGCONT)
    broker.ready()
    assert httpx.get(f"{broker.url}/v1/leases").status_code == 200


async def test_the_broker_starts_before_redis(short_dir: Path, tmp_path: Path) -> None:
    server = RedisServer(short_dir)
    with broker_process(tmp_path, server) as broker:
        until(lambda: httpx.get(f"{broker.url}/healthz").status_code == 200)
        assert httpx.get(f"{broker.url}/readyz").status_code == 503
        await asyncio.to_thread(server.start)
        try:
            broker.ready()
        finally:
            broker.send(signal.SIGTERM)
            assert broker.wait() == 0
            server.kill()


async def test_wrong_credentials_are_the_users_error(own_redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path, own_redis_server, broker_token="right") as broker:
        client = BrokerClient(ServiceSettings(broker_url=broker.ready().url))
        with pytest.raises(UserError, match="PTZ_BROKER_TOKEN"):
            await client.leases()
        await client.aclose()
