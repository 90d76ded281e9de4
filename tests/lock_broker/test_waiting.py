"""Standing in line: first come first served, over several brokers, with no turn lost and no place kept by the gone."""

# ruff: noqa: ASYNC110 - a test asks until it is so

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lock_broker import leases, scripts
from lock_broker.problems import Refused
from shared.leases import AnyLeaseRequest, Choice, LeaseRequest, Mode
from shared.redis_client import RedisClients
from tests.conftest import RedisServer
from tests.lock_broker.conftest import Broker, MakeBroker, broker_process
from tests.support import until

RESOURCE = "world-model/wm_00_00"
THREE = [f"world-model/wm_00_{n:02d}" for n in range(3)]


def request(number: int, *, wait_ms: int = 30_000, mode: Mode = "exclusive", ttl_ms: int = 60_000) -> LeaseRequest:
    return LeaseRequest(
        resource=RESOURCE,
        holder=f"holder-{number}",
        request_id=f"request-{number}",
        wait_ms=wait_ms,
        mode=mode,
        ttl_ms=ttl_ms,
    )


@pytest.fixture
async def listening(make_broker: MakeBroker, clients: RedisClients) -> AsyncIterator[list[Broker]]:
    """Two brokers that hear whose turn it is."""
    brokers = [make_broker(), make_broker()]
    listeners = [asyncio.create_task(broker.leases.room.listen(clients.blocking)) for broker in brokers]
    async with asyncio.timeout(20):
        while dict(await clients.commands.pubsub_numsub("{lk}:free")) != {b"{lk}:free": 2}:
            await asyncio.sleep(0.01)
    yield brokers
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)


async def in_line(broker: Broker, count: int) -> None:
    async with asyncio.timeout(20):
        while len((await broker.leases.resource(RESOURCE)).waiting) != count:
            await asyncio.sleep(0.01)


async def test_first_come_first_served_over_two_brokers(listening: list[Broker]) -> None:
    held, _ = await listening[0].leases.acquire(request(0))
    served: list[int] = []

    async def worker(number: int) -> None:
        lease, new = await listening[number % 2].leases.acquire(request(number))
        assert new
        served.append(number)
        await listening[number % 2].leases.release(lease.lease_id)

    workers = []
    for number in range(1, 13):
        workers.append(asyncio.create_task(worker(number)))
        await in_line(listening[0], number)
    state = await listening[0].leases.resource(RESOURCE)
    assert [waiter.holder for waiter in state.waiting] == [f"holder-{n}" for n in range(1, 13)]
    assert sum(broker.count("lease_waiters") or 0 for broker in listening) == 12
    await listening[1].leases.release(held.lease_id)
    async with asyncio.timeout(30):
        await asyncio.gather(*workers)
    assert served == list(range(1, 13))
    assert sum(broker.count("lease_wait_seconds_count") or 0 for broker in listening) == 13
    assert sum(broker.count("lease_waiters") or 0 for broker in listening) == 0


async def test_no_turn_is_lost(listening: list[Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look every second: only the bell wakes, however release and wait race."""
    monkeypatch.setattr(leases, "RECHECK_SECONDS", 60.0)
    chance = random.Random(1)
    lease, _ = await listening[0].leases.acquire(request(0))
    async with asyncio.timeout(60):
        for number in range(1, 301):
            waiting = asyncio.create_task(listening[number % 2].leases.acquire(request(number)))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            await listening[0].leases.release(lease.lease_id)
            lease, _ = await waiting
    assert lease.token == 301


async def test_the_look_every_second_stands_in_for_a_lost_message(broker: Broker) -> None:
    """This broker does not listen at all."""
    held, _ = await broker.leases.acquire(request(0))
    waiting = asyncio.create_task(broker.leases.acquire(request(1)))
    await in_line(broker, 1)
    await broker.leases.release(held.lease_id)
    async with asyncio.timeout(20):
        assert (await waiting)[0].token == 2


async def test_who_waits_does_not_spin(broker: Broker) -> None:
    async def calls() -> int:
        return int((await broker.redis.info("commandstats"))["cmdstat_evalsha"]["calls"])

    await broker.leases.acquire(request(0))
    waiting = asyncio.create_task(broker.leases.acquire(request(1)))
    await in_line(broker, 1)
    before = await calls()
    broker.leases.room.call("request-1")  # for nothing
    await asyncio.sleep(0.3)
    assert await calls() - before <= 3
    waiting.cancel()


async def test_the_end_of_a_wait_is_a_refusal_that_says_who(broker: Broker) -> None:
    await broker.leases.acquire(request(0))
    with pytest.raises(Refused, match="holder-0") as refused:
        await broker.leases.acquire(request(1, wait_ms=50))
    assert refused.value.status == 423
    assert (await broker.leases.resource(RESOURCE)).waiting == []
    assert broker.count("lease_denials_total") == 1


async def test_readers_go_together_but_pass_no_writer(listening: list[Broker]) -> None:
    broker = listening[0]
    first, _ = await broker.leases.acquire(request(1, mode="shared"))
    second, _ = await broker.leases.acquire(request(2, mode="shared"))
    writer = asyncio.create_task(broker.leases.acquire(request(3)))
    await in_line(broker, 1)
    with pytest.raises(Refused, match="holder-"):
        await broker.leases.acquire(request(4, mode="shared", wait_ms=0))
    late = [asyncio.create_task(broker.leases.acquire(request(n, mode="shared"))) for n in (5, 6)]
    await in_line(broker, 3)
    await broker.leases.release(first.lease_id)
    assert not writer.done()
    await broker.leases.release(second.lease_id)
    async with asyncio.timeout(20):
        lease, _ = await writer
        assert [held.mode for held in (await broker.leases.resource(RESOURCE)).leases] == ["exclusive"]
        await broker.leases.release(lease.lease_id)
        assert {granted.mode for granted, _ in await asyncio.gather(*late)} == {"shared"}
    assert len(await broker.leases.live()) == 2


async def test_who_hangs_up_leaves_the_line(broker: Broker) -> None:
    """The clock stands still, so no ticket dies by itself."""
    await broker.leases.acquire(request(0))
    hung_up = asyncio.Event()
    waiting = asyncio.create_task(broker.leases.acquire(request(1), hung_up=hung_up.wait))
    await in_line(broker, 1)
    hung_up.set()
    async with asyncio.timeout(20):
        with pytest.raises(Refused, match="hung up"):
            await waiting
    assert (await broker.leases.resource(RESOURCE)).waiting == []


async def test_a_second_connection_keeps_the_place_of_the_first(broker: Broker) -> None:
    held, _ = await broker.leases.acquire(request(0))
    hung_up = asyncio.Event()
    first = asyncio.create_task(broker.leases.acquire(request(1), hung_up=hung_up.wait))
    await in_line(broker, 1)
    second = asyncio.create_task(broker.leases.acquire(request(1)))
    behind = asyncio.create_task(broker.leases.acquire(request(2)))
    await in_line(broker, 2)
    hung_up.set()
    with pytest.raises(Refused):
        await first
    assert [it.holder for it in (await broker.leases.resource(RESOURCE)).waiting] == ["holder-1", "holder-2"]
    await broker.leases.release(held.lease_id)
    async with asyncio.timeout(20):
        lease, _ = await second
    assert lease.holder == "holder-1"
    behind.cancel()


async def test_a_place_in_line_dies_with_its_broker(broker: Broker) -> None:
    held, _ = await broker.leases.acquire(request(0))
    dead = scripts.Asking([RESOURCE], "request-of-the-dead", "dead", "anonymous", "exclusive", 60_000)
    assert (await scripts.acquire(broker.line, dead, wait=True, most_resources=100)).queued
    await broker.leases.release(held.lease_id)
    with pytest.raises(Refused, match="dead is in line before"):
        await broker.leases.acquire(request(1, wait_ms=0))
    broker.clock.now += 3000
    assert (await broker.leases.acquire(request(1, wait_ms=0)))[0].token == 2


async def test_a_line_is_bounded(broker: Broker) -> None:
    await broker.leases.acquire(request(0))
    for number in range(256):
        asking = scripts.Asking([RESOURCE], f"request-x{number}", "crowd", "anonymous", "exclusive", 60_000)
        assert (await scripts.acquire(broker.line, asking, wait=True, most_resources=100)).queued
    async with asyncio.timeout(20):
        with pytest.raises(Refused) as refused:
            await broker.leases.acquire(request(1))
    assert refused.value.status == 423
    assert refused.value.extra["waiting"] == 256


@pytest.mark.parametrize("choice", ["least-recently-trained", "round-robin", "random"])
async def test_every_resource_gets_its_share(listening: list[Broker], choice: Choice) -> None:
    """Seven workers on three resources, all the time: no resource is left aside, and no worker."""
    grants: Counter[str] = Counter()
    served: Counter[int] = Counter()

    async def worker(number: int) -> None:
        broker, chance = listening[number % 2], random.Random(number)
        for turn in range(18):
            asked = AnyLeaseRequest(
                holder=f"w{number}", wait_ms=30_000, choice=choice, request_id=f"request-{number}-{turn}"
            )
            lease, _ = await broker.leases.acquire_any(asked, THREE)
            grants[lease.resource] += 1
            served[number] += 1
            await asyncio.sleep(chance.random() * 0.004)
            await broker.leases.release(lease.lease_id)

    async with asyncio.timeout(60):
        await asyncio.gather(*(worker(number) for number in range(7)))
    assert sum(grants.values()) == 7 * 18
    assert max(grants.values()) <= 2 * min(grants[resource] for resource in THREE)
    assert set(served.values()) == {18}


@pytest.mark.parametrize("choice", ["least-recently-trained", "round-robin"])
async def test_alone_one_takes_turns(broker: Broker, choice: Choice) -> None:
    chosen = []
    for turn in range(6):
        asked = AnyLeaseRequest(holder="h", choice=choice, request_id=f"request-{turn}")
        lease, _ = await broker.leases.acquire_any(asked, THREE)
        chosen.append(lease.resource)
        again, new = await broker.leases.acquire_any(asked, THREE)
        assert (again.lease_id, new) == (lease.lease_id, False), "a lost answer made a second lease"
        await broker.leases.release(lease.lease_id)
    assert chosen == [*THREE, *THREE]


async def test_whoever_waits_for_any_stands_in_every_line_and_then_in_none(listening: list[Broker]) -> None:
    broker = listening[0]
    held = []
    for n, resource in enumerate(THREE):
        asked = LeaseRequest(resource=resource, holder="h", request_id=f"request-{n}", ttl_ms=1000 * (n + 5))
        held.append((await broker.leases.acquire(asked))[0])
    anything = AnyLeaseRequest(holder="w", request_id="request-any", wait_ms=0)
    with pytest.raises(Refused) as refused:
        await broker.leases.acquire_any(anything, THREE)
    assert [it["resource"] for it in refused.value.extra["busy"]] == THREE, "soonest first"
    assert refused.value.headers["Retry-After"] == "5"
    waiting = asyncio.create_task(broker.leases.acquire_any(anything.model_copy(update={"wait_ms": 30_000}), THREE))
    async with asyncio.timeout(20):
        while [len((await broker.leases.resource(it)).waiting) for it in THREE] != [1, 1, 1]:
            await asyncio.sleep(0.01)
        await broker.leases.release(held[1].lease_id)
        assert (await waiting)[0].resource == THREE[1]
    assert [len((await broker.leases.resource(it)).waiting) for it in THREE] == [0, 0, 0]


async def test_over_http_hanging_up_and_stopping(
    clients: RedisClients, redis_server: RedisServer, tmp_path: Path
) -> None:
    with broker_process(tmp_path, redis_server) as process:
        url = process.ready().url
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            assert (await http.post("/v1/leases", json=_body(0))).status_code == 201
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/v1/leases", json=_body(1), timeout=0.5)
            path = f"/v1/resources/{RESOURCE}"
            await asyncio.to_thread(until, lambda: httpx.get(f"{url}{path}").json()["waiting"] == [])
            waiting = asyncio.create_task(http.post("/v1/leases", json=_body(2)))
            await asyncio.to_thread(until, lambda: len(httpx.get(f"{url}{path}").json()["waiting"]) == 1)
            process.send(signal.SIGTERM)
            answer = await waiting
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert await asyncio.to_thread(process.wait) == 0


def _body(number: int) -> dict[str, Any]:
    return request(number).model_dump()


async def test_many_workers_on_one_redis_are_one_broker(
    clients: RedisClients, redis_server: RedisServer, tmp_path: Path
) -> None:
    brokers = [broker_process(tmp_path / str(n), redis_server) for n in range(2)]
    tokens: list[int] = []
    inside = 0

    async def client(http: httpx.AsyncClient, urls: list[str], number: int) -> None:
        nonlocal inside
        chance = random.Random(number)
        for turn in range(4):
            body = {**_body(number), "request_id": f"request-{number}-{turn}"}
            response = await http.post(f"{chance.choice(urls)}/v1/leases", json=body)
            assert response.status_code == 201, response.text
            inside += 1
            assert inside == 1, "two holders at once"
            tokens.append(response.json()["token"])
            await asyncio.sleep(0)
            inside -= 1
            gone = await http.delete(f"{chance.choice(urls)}/v1/leases/{response.json()['lease_id']}")
            assert gone.status_code == 204

    with brokers[0].start(), brokers[1].start():
        urls = [process.ready().url for process in brokers]
        async with httpx.AsyncClient(timeout=60) as http:
            await asyncio.gather(*(client(http, urls, number) for number in range(8)))
            assert tokens == list(range(1, 33))
            lease = (await http.post(f"{urls[0]}/v1/leases", json=_body(99))).json()
            brokers[0].send(signal.SIGKILL)
            renewed = await http.patch(f"{urls[1]}/v1/leases/{lease['lease_id']}", json={"ttl_ms": 60_000})
            assert renewed.json()["token"] == lease["token"]
