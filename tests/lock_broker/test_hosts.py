"""Brokers of two hosts on one Redis: one active, the other standing by until the first one's beat has stopped."""

# ruff: noqa: ASYNC210 - nothing else runs in its loop

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from lock_broker import keys
from lock_broker.host import Host
from lock_broker.problems import Refused
from shared.leases import LeaseRequest
from shared.redis_client import RedisClients
from tests.conftest import RedisServer
from tests.lock_broker.conftest import MakeBroker, broker_process
from tests.support import until

REQUEST = LeaseRequest(resource="world-model/wm_00_00", holder="h", ttl_ms=60_000, request_id="request-1")


async def test_a_standby_takes_over_when_the_beat_stops(make_broker: MakeBroker) -> None:
    first, second = make_broker(), make_broker()
    second.clock.boot, second.clock.now = "boot-of-another", 7
    one, two = Host(first.line, first.metrics), Host(second.line, second.metrics)
    await one.beat()
    lease, _ = await first.leases.acquire(REQUEST)
    for _ in range(30):
        await one.beat()
        await two.beat()
        assert (one.active, two.active) == (True, False)
        first.clock.now += 2000
        second.clock.now += 2000
        with pytest.raises(Refused, match="another broker host") as refused:
            await second.leases.renew(lease.lease_id, 60_000)
        assert refused.value.status == 503
        assert refused.value.headers["Retry-After"] == "2"
        await first.leases.renew(lease.lease_id, 60_000)
    assert second.count("standby") == 1

    await two.beat()
    for waited in range(0, 10_000, 2000):
        assert not two.active, f"after {waited} ms of silence"
        await two.beat()
        second.clock.now += 2000
    await two.beat()
    assert two.active
    assert second.count("standby") == 0
    held = await second.leases.get(lease.lease_id)
    assert held.expires_in_ms == 60_000, "the first host's clock means nothing here: a full life again"
    await second.leases.release(lease.lease_id)
    new, _ = await second.leases.acquire(REQUEST.model_copy(update={"request_id": "request-2"}))
    assert new.token > lease.token + 1000

    await one.beat()
    assert not one.active, "who was away stands by"
    assert first.count("standby") == 1
    with pytest.raises(Refused):
        await first.leases.acquire(REQUEST)


async def test_only_one_of_two_standbys_takes_over(make_broker: MakeBroker) -> None:
    brokers = [make_broker() for _ in range(3)]
    for number, broker in enumerate(brokers):
        broker.clock.boot = f"boot-{number}"
    hosts = [Host(broker.line, broker.metrics) for broker in brokers]
    for _ in range(2):
        for host in hosts:
            await host.beat()
    for broker in brokers:
        broker.clock.now += 10_000
    for host in hosts[1:]:
        await host.beat()
    assert [host.active for host in hosts[1:]] == [True, False]


async def test_a_tokens_floor_rises_with_every_epoch(make_broker: MakeBroker) -> None:
    """A resource whose only lease the log has lost must not give its token out again."""
    broker = make_broker()
    first, _ = await broker.leases.acquire(REQUEST)
    await broker.redis.delete(*keys.pairs([REQUEST.resource]))
    await broker.redis.srem(keys.LIVE, REQUEST.resource)
    await broker.reboot(5)
    again, _ = await broker.leases.acquire(REQUEST.model_copy(update={"request_id": "request-2"}))
    assert again.token > first.token + 100


async def test_a_standby_process_says_so(clients: RedisClients, redis_server: RedisServer, tmp_path: Path) -> None:
    await clients.commands.hset(keys.HOST, mapping={"boot": "another", "beat": 1})
    with broker_process(tmp_path, redis_server) as process:
        url = process.url
        until(lambda: httpx.get(f"{url}/readyz").json()["missing"] == {"host": "another broker host is active"})
        answer = httpx.post(f"{url}/v1/leases", json=REQUEST.model_dump())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.headers["content-type"] == "application/problem+json"
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert "ptz_lock_broker_standby 1.0" in httpx.get(f"{url}/metrics").text
