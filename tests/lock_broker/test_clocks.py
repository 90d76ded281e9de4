"""Clocks that jump and servers that restart: no lease ends early, none by a clock later, no token comes twice."""

# ruff: noqa: ASYNC110, ASYNC210 - a test asks until it is so; nothing else runs in its loop

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import lock_broker.scripts
from lock_broker import keys
from lock_broker.problems import Refused
from shared.leases import LeaseRequest
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import Broker, broker_process

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def request(number: int, ttl_ms: int = 60_000) -> LeaseRequest:
    return LeaseRequest(resource="world-model/wm_00_00", holder="h", ttl_ms=ttl_ms, request_id=f"request-{number}")


@pytest.fixture
def stepped(short_dir: Path) -> Iterator[tuple[RedisServer, Path]]:
    """A server whose wall clock a file sets."""
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed; that the scripts ask no server for the time is tested elsewhere")
    offset = short_dir / "offset"
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    server = RedisServer(short_dir, environment=environment)
    server.start()
    yield server, offset
    server.kill()


@pytest.mark.parametrize("minutes", [10, -10])
async def test_a_step_of_the_wall_clock_changes_nothing(stepped: tuple[RedisServer, Path], minutes: int) -> None:
    server, offset = stepped
    clients = RedisClients.from_settings(ServiceSettings(redis_url=server.url))
    broker = Broker(clients)
    lease, _ = await broker.leases.acquire(request(1))
    before, _ = await clients.commands.time()
    offset.write_text(f"{60 * minutes:+d}\n")
    async with asyncio.timeout(20):
        while abs((await clients.commands.time())[0] - before) < 500:
            await asyncio.sleep(0.05)
    broker.clock.now += 59_999
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 1, "ended or prolonged by the server's clock"
    with pytest.raises(Refused):
        await broker.leases.acquire(request(2))
    broker.clock.now += 1
    assert (await broker.leases.acquire(request(2)))[0].token == 2
    await broker.aclose()
    await clients.aclose()


async def test_a_renewal_carried_out_late_shortens_nothing(broker: Broker) -> None:
    """Its first answer was lost and Redis was stopped; meanwhile the client has renewed by another broker."""
    lease, _ = await broker.leases.acquire(request(1))
    broker.clock.now += 3000
    assert (await broker.leases.renew(lease.lease_id, 60_000)).expires_in_ms == 60_000
    broker.clock.now -= 3000
    await broker.leases.renew(lease.lease_id, 60_000)
    broker.clock.now += 3000
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 60_000


async def test_a_renewal_for_less_time_shortens_nothing(broker: Broker) -> None:
    """Not even when everything begins its life again."""
    lease, _ = await broker.leases.acquire(request(1))
    assert (await broker.leases.renew(lease.lease_id, 1000)).expires_in_ms == 60_000
    await broker.reboot(5)
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 60_000


async def test_a_new_run_seen_by_an_old_time_shortens_nothing(broker: Broker) -> None:
    lease, _ = await broker.leases.acquire(request(1))
    await broker.redis.hset(keys.HOST, "epoch", "boot-1:before")
    document = await broker.document(request(1).resource)
    await broker.keep(document | {"epoch": "boot-1:before"})
    broker.clock.now -= 2000
    await broker.leases.get(lease.lease_id)
    broker.clock.now += 2000
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 60_000


async def test_a_restart_of_redis_gives_every_lease_its_full_life_again(own_redis_server: RedisServer) -> None:
    """Its log may have lost the last second: a renewal in it, a token in it."""
    clients = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url))
    broker = Broker(clients)
    lease, _ = await broker.leases.acquire(request(1))
    broker.clock.now += 50_000
    await asyncio.to_thread(own_redis_server.kill)
    await asyncio.to_thread(own_redis_server.start)
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 60_000
    assert (await broker.leases.renew(lease.lease_id, 60_000)).token == lease.token
    await broker.leases.release(lease.lease_id)
    new, _ = await broker.leases.acquire(request(2))
    assert new.token > lease.token + 1000
    events = [fields[b"event"] for _, fields in await clients.commands.xrange("{lk}:ev")]
    assert events == [b"granted", b"rebased", b"renewed", b"released", b"granted"]
    await broker.aclose()
    await clients.aclose()


async def test_kill_upon_kill_tokens_only_grow(own_redis_server: RedisServer, tmp_path: Path) -> None:
    """Broker and Redis are killed in turns; a lease taken at the start is renewed through all of it."""
    with broker_process(tmp_path, own_redis_server) as process:
        process.environment["PTZ_BROKER_PORT"] = process.ready().url.rpartition(":")[2]
        url = process.url
        lasting = httpx.post(f"{url}/v1/leases", json=_body("camera/north", 0)).json()
        tokens = [0]
        for turn in range(4):
            lease = httpx.post(f"{url}/v1/leases", json=_body("camera/south", turn)).json()
            assert lease["token"] > tokens[-1]
            tokens.append(lease["token"])
            if turn % 2:
                process.send(signal.SIGKILL)
                process.start()
            else:
                await asyncio.to_thread(own_redis_server.kill)
                await asyncio.to_thread(own_redis_server.start)
            process.ready()
            again = httpx.post(f"{url}/v1/leases", json=_body("camera/south", turn)).json()
            assert again["lease_id"] == lease["lease_id"], "a live lease was lost"
            assert httpx.delete(f"{url}/v1/leases/{lease['lease_id']}").status_code == 204
            renewed = httpx.patch(f"{url}/v1/leases/{lasting['lease_id']}", json={"ttl_ms": 600_000})
            assert renewed.json()["token"] == lasting["token"]


def _body(resource: str, number: int) -> dict[str, object]:
    return {"resource": resource, "holder": "h", "ttl_ms": 600_000, "request_id": f"request-{resource}-{number}"}


def test_scripts_ask_no_server_for_the_time() -> None:
    for script in Path(lock_broker.scripts.__file__).parent.glob("*.lua"):
        text = script.read_text()
        for word in ("'TIME'", "'PX'", "'EX'", "EXPIRE"):
            assert word not in text, script
