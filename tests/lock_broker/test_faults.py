"""Killed and frozen: brokers, Redis, holders. Through the client that every service uses."""

# ruff: noqa: ASYNC210 - a test asks and waits; nothing else runs in its loop meanwhile that must go on

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from shared.broker.client import BrokerAway, BrokerClient, LeaseHeld
from shared.errors import UserError
from shared.leases import LeaseRequest
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import MODEL, RESOURCE, broker_process, commit_of
from tests.support import Process, until


async def test_leases_survive_kills_of_broker_and_redis(
    own_broker: Process, client: BrokerClient, own_redis_server: RedisServer
) -> None:
    request = LeaseRequest(resource=RESOURCE, holder="first", ttl_ms=120_000)
    lease = await client.acquire(request)
    await client.commit(MODEL, commit_of(lease.lease_id, lease.token))

    own_broker.send(signal.SIGKILL)
    with pytest.raises(BrokerAway):
        await client.acquire(request)
    own_broker.start().ready()
    assert (await client.acquire(request)).lease_id == lease.lease_id

    own_redis_server.kill()
    with pytest.raises(BrokerAway):
        await client.renew(lease.lease_id, 120_000)
    answer = httpx.get(f"{own_broker.url}/v1/leases")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert httpx.get(f"{own_broker.url}/healthz").status_code == 200
    assert httpx.get(f"{own_broker.url}/readyz").status_code == 503
    await asyncio.to_thread(own_redis_server.start)
    own_broker.ready()
    assert (await client.renew(lease.lease_id, 120_000)).token == lease.token
    with pytest.raises(LeaseHeld, match="first"):
        await client.acquire(LeaseRequest(resource=RESOURCE, holder="second"))
    head = await client.head(MODEL)
    assert head is not None
    assert (await client.commit(MODEL, commit_of(lease.lease_id, lease.token, expected=1))).version == 2


async def test_a_frozen_redis_is_503_and_the_broker_recovers(
    own_broker: Process, own_redis_server: RedisServer
) -> None:
    own_redis_server.kill(signal.SIGSTOP)
    try:
        assert httpx.get(f"{own_broker.url}/v1/leases", timeout=20).status_code == 503
        assert httpx.get(f"{own_broker.url}/healthz").status_code == 200
        assert httpx.get(f"{own_broker.url}/readyz", timeout=20).status_code == 503
    finally:
        own_redis_server.kill(signal.SIGCONT)
    own_broker.ready()
    assert httpx.get(f"{own_broker.url}/v1/leases").status_code == 200


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
