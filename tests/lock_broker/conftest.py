from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lock_broker import keys, scripts
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.registry import Registry
from lock_broker.scripts import Line
from shared.broker.client import BrokerClient
from shared.leases import CommitRequest
from shared.messages import Checkpoint
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from shared.telemetry import Metrics
from tests.conftest import RedisServer
from tests.support import Process


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self, now: int = 1_000_000, boot: str = "boot-1") -> None:
        self.now, self.boot = now, boot

    def now_ms(self) -> int:
        return self.now


class Broker:
    """The broker's parts on a real Redis with a clock of our own."""

    def __init__(self, clients: RedisClients, *, most_resources: int = 100, history: int = 1000) -> None:
        self.redis, self.clock = clients.commands, FakeClock()
        self.counted = Metrics("lock-broker")
        self.metrics = BrokerMetrics(self.counted)
        self.line = Line(self.redis.connection_pool.make_connection, self.clock)
        self.leases = Leases(self.redis, self.line, self.metrics, most_resources=most_resources)
        self.registry = Registry(self.redis, self.line, self.metrics, history=history)

    def count(self, name: str, **labels: str) -> float | None:
        return self.counted.registry.get_sample_value(f"ptz_lock_broker_{name}", labels)

    async def document(self, resource: str) -> dict[str, Any]:
        """What Redis keeps of a resource."""
        found: dict[str, Any] = json.loads(await self.redis.hget(keys.resource_key(resource), "document"))
        return found

    async def keep(self, document: dict[str, Any]) -> None:
        """Put another document in its place."""
        await self.redis.hset(keys.resource_key(document["resource"]), "document", json.dumps(document))

    async def reboot(self, now: int) -> None:
        """The host starts again, and its brokers take over from those before."""
        await scripts.beat(self.line)
        self.clock.now, self.clock.boot = now, self.clock.boot + "+"
        active, seen = await scripts.beat(self.line)
        assert not active, "a new boot may not begin before the old one's beat has stopped"
        assert (await scripts.beat(self.line, seen))[0]

    async def aclose(self) -> None:
        await self.line.aclose()


FAMILIES = re.compile(r"\{lk\}:(host|ev|live|resources|order|rr|models|(r|f):[a-z-]+/.+|(head|v|vr|pin):.+)")
"""Every key that the broker may leave."""


@pytest.fixture(autouse=True)
async def _no_leaks(clients: RedisClients) -> AsyncIterator[None]:
    """Every key the broker leaves is of a known family and bounded, and whatever is dead by its time is swept."""
    yield
    redis = clients.commands
    names = [key.decode() async for key in redis.scan_iter("*")]
    documents = [json.loads(await redis.hget(name, "document")) for name in names if name.startswith("{lk}:r:")]
    if documents:
        last = max([0, *(it["expires"] for d in documents for it in d["leases"])])
        last = max([last, *(it["dies"] for d in documents for it in d["queue"])])
        boot = await redis.hget(keys.HOST, "boot")
        line = Line(redis.connection_pool.make_connection, FakeClock(last, boot.decode()))
        await scripts.observe(line, [document["resource"] for document in documents])
        await line.aclose()
    known = {resource.decode() for resource in await redis.smembers(keys.RESOURCES)}
    assert await redis.smembers(keys.LIVE) == set(), "leases or tickets that nothing ends"
    for document in documents:
        resource = document["resource"]
        after = json.loads(await redis.hget(keys.resource_key(resource), "document"))
        ended = await redis.hget(keys.resource_key(resource), "ended") or b""
        assert not after["leases"], "a lease that does not run out"
        assert not after["queue"], "a ticket that does not die"
        assert len(document["leases"]) <= 64
        assert len(document["queue"]) <= 256
        assert ended.count(b"\n") <= 32
        assert resource in known, "a document that no bound counts"
        assert await redis.exists(keys.fence_key(resource))
    assert [name for name in names if name.startswith("{lk}") and not FAMILIES.fullmatch(name)] == []
    assert len([name for name in names if name.startswith("{lk}:f:")]) == len(documents), "a fence without a resource"
    assert [name for name in names if await redis.ttl(name) >= 0 and name.startswith("{lk}")] == [], "by the wall clock"


MakeBroker = Callable[..., Broker]


@pytest.fixture
async def make_broker(clients: RedisClients) -> AsyncIterator[MakeBroker]:
    """Brokers on one Redis; each with a connection and a clock of its own."""
    made: list[Broker] = []

    def make(**options: int) -> Broker:
        made.append(Broker(clients, **options))
        return made[-1]

    yield make
    for broker in made:
        await broker.aclose()


@pytest.fixture
async def broker(make_broker: MakeBroker) -> Broker:
    return make_broker()


def broker_process(directory: Path, redis: RedisServer, **settings: str) -> Process:
    return Process(
        directory, "-m", "lock_broker", redis_url=redis.url, **{"broker_port": "0", "node": "test", **settings}
    )


@pytest.fixture(scope="module")
def broker_module(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Process]:
    """One broker process for the tests of a module that do not harm it."""
    with broker_process(tmp_path_factory.mktemp("broker"), redis_server) as process:
        yield process.ready()


@pytest.fixture
async def http(broker_module: Process, clients: RedisClients) -> AsyncIterator[httpx.AsyncClient]:
    """Ask the broker, on an empty Redis."""
    async with httpx.AsyncClient(base_url=broker_module.url) as client:
        yield client


RESOURCE, MODEL = "world-model/wm_00_00", "wm_00_00"


@pytest.fixture
def own_broker(own_redis_server: RedisServer, tmp_path: Path) -> Iterator[Process]:
    """A broker and a Redis of the test's own, to be harmed; always on the same port."""
    with broker_process(tmp_path, own_redis_server) as process:
        process.environment["PTZ_BROKER_PORT"] = process.ready().url.rpartition(":")[2]
        yield process


@pytest.fixture
async def client(own_broker: Process) -> AsyncIterator[BrokerClient]:
    """The client that every service uses."""
    connection = BrokerClient(ServiceSettings(broker_url=own_broker.url))
    yield connection
    await connection.aclose()


def commit_of(lease_id: str, token: int, *, expected: int = 0) -> CommitRequest:
    return CommitRequest(
        lease_id=lease_id, token=token, expected_head=expected, checkpoint=Checkpoint.of("world-models/x", b"x")
    )
