from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.registry import Registry
from shared.redis_client import RedisClients
from shared.telemetry import Metrics
from tests.conftest import RedisServer
from tests.support import Process


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now, self.boot = 1_000_000, "boot-1"

    def now_ms(self) -> int:
        return self.now


class Broker:
    """The broker's parts on a real Redis with a clock of our own."""

    def __init__(self, clients: RedisClients, *, most_resources: int = 100, history: int = 1000) -> None:
        self.redis, self.clock = clients.commands, FakeClock()
        self.counted = Metrics("lock-broker")
        metrics = BrokerMetrics(self.counted)
        self.leases = Leases(self.redis, self.clock, metrics, most_resources=most_resources)
        self.registry = Registry(self.redis, self.clock, metrics, history=history)

    def count(self, name: str, **labels: str) -> float | None:
        return self.counted.registry.get_sample_value(f"ptz_lock_broker_{name}", labels)


@pytest.fixture
def broker(clients: RedisClients) -> Broker:
    return Broker(clients)


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
