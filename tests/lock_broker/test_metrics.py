"""What the broker shows of leases and of Redis."""

from __future__ import annotations

from lock_broker.host import Host
from lock_broker.metrics import HOLDERS
from lock_broker.redis_health import EVERY, RedisHealth
from shared.leases import Lease, LeaseRequest
from shared.redis_client import RedisClients
from tests.lock_broker.conftest import MakeBroker


def lease(resource: str, holder: str, token: int) -> Lease:
    return Lease(
        lease_id=f"{resource}~{token}",
        resource=resource,
        holder=holder,
        principal="anonymous",
        mode="shared",
        token=token,
        expires_in_ms=1000,
    )


async def test_live_leases_are_shown_with_their_holders(make_broker: MakeBroker) -> None:
    broker = make_broker()
    asked = {"resource": "camera/one", "holder": "pilot", "ttl_ms": 60_000}
    held, _ = await broker.leases.acquire(LeaseRequest(**asked, request_id="request-1"))
    await broker.leases.live()
    assert broker.count("lease_fencing_token", resource="camera/one", holder="pilot") == held.token
    assert broker.count("leases_held") == 1
    await broker.leases.release(held.lease_id)
    await broker.leases.live()
    assert broker.count("lease_fencing_token", resource="camera/one", holder="pilot") is None


async def test_a_crowd_of_leases_makes_no_crowd_of_series(make_broker: MakeBroker) -> None:
    broker = make_broker()
    metrics, count = broker.metrics, broker.count
    metrics.live([lease("dreams/a", "one", 1), lease("dreams/a", "one", 2)])
    assert count("lease_fencing_token", resource="dreams/a", holder="one") == 2
    metrics.live([lease(f"camera/c{number:03d}", "one", 1) for number in range(HOLDERS + 1)])
    assert count("leases_held") == HOLDERS + 1
    assert count("lease_fencing_token", resource=f"camera/c{HOLDERS - 1:03d}", holder="one") == 1
    assert count("lease_fencing_token", resource=f"camera/c{HOLDERS:03d}", holder="one") is None


async def test_a_standby_shows_no_leases(make_broker: MakeBroker) -> None:
    first, second = make_broker(), make_broker()
    second.clock.boot = "boot-of-another"
    await Host(first.line, first.metrics).beat()
    second.metrics.live([lease("camera/one", "pilot", 1)])
    await Host(second.line, second.metrics).beat()
    assert second.count("leases_held") == 0
    assert second.count("lease_fencing_token", resource="camera/one", holder="pilot") is None


async def test_redis_is_asked_how_it_is_now_and_then(make_broker: MakeBroker, clients: RedisClients) -> None:
    broker = make_broker()
    health = RedisHealth(clients.commands, broker.metrics)
    await health.beat()
    assert 1e5 < (broker.count("redis_memory_bytes") or 0.0) < (broker.count("redis_memory_limit_bytes") or 0.0)
    assert (broker.count("redis_clients") or 0.0) >= 1.0
    assert broker.count("redis_append_failing") == 0.0
    broker.metrics.redis_clients.set(-1)
    for _ in range(EVERY - 1):
        await health.beat()
    assert broker.count("redis_clients") == -1.0
    await health.beat()
    assert (broker.count("redis_clients") or 0.0) >= 1.0


async def test_who_may_not_ask_learns_nothing(make_broker: MakeBroker, clients: RedisClients) -> None:
    broker = make_broker()
    await clients.commands.acl_setuser("default", enabled=True, nopass=True, commands=["-info"])
    try:
        await RedisHealth(clients.commands, broker.metrics).look()
    finally:
        await clients.commands.acl_setuser("default", enabled=True, nopass=True, commands=["+info"])
    assert str(broker.count("redis_memory_bytes")) == "nan"
