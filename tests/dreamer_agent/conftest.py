"""What dreamer, learner and pilot need around them: a real Redis, a real broker, a tiny world model."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dreamer_agent.agents import ActorCritic, ActorCriticConfig, PolicyCard, save_policy
from dreamer_agent.dreams import Dreams
from dreamer_agent.settings import AgentSettings, DreamSettings
from shared.actions import DEFAULT_ACTIONS
from shared.broker.client import BrokerClient
from shared.leases import CommitRequest, ModelVersion
from shared.messages import DreamBatch, StreamName, View, utc_now
from shared.pose import Pose, PoseLimits
from shared.redis_client import RedisClients
from shared.service import Service
from shared.store.model_store import ModelStore
from shared.streams import FIELD, publish
from shared.world_model import WorldModel, WorldModelConfig, save_checkpoint
from tests.conftest import RedisServer
from tests.dreamer_agent.worlds import origin
from tests.support import Process

TINY = WorldModelConfig(
    image_size=32, widths=(8, 8), embedding_size=16, hidden_size=16, blocks=1, surprise="disagreement"
)
CAMERA = "north"


def jpeg(seed: int, size: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


class System:
    """What surrounds the service under test."""

    def __init__(self, redis_url: str, broker: Process, store: Path) -> None:
        self.environment = {
            "redis_url": redis_url,
            "broker_url": broker.url,
            "model_store": str(store),
            "camera": CAMERA,
            "node": "test",
            "admin_port": "0",
            "head_seconds": "0.1",
            "lease_ttl_ms": "3000",
        }
        self.broker_process = broker
        self.store = ModelStore(str(store))
        settings = self.agent_settings()
        self.clients = RedisClients.from_settings(settings)
        self.broker = BrokerClient(settings)

    def dream_settings(self, **changes: Any) -> DreamSettings:
        defaults = {"number_of_dreams": 8, "dream_length": 4, "dream_interval": 0.02}
        return DreamSettings(**(self.environment | defaults | changes))

    def agent_settings(self, **changes: Any) -> AgentSettings:
        return AgentSettings(**(self.environment | {"policy_seconds": 0.1, "dwell": 1.0} | changes))

    def file(self, address: str) -> Path:
        """Return where the model store keeps an object."""
        return Path(self.environment["model_store"]) / address

    async def aclose(self) -> None:
        await self.broker.aclose()
        await self.clients.aclose()

    async def commit(self, kind: str, model: str, data: bytes) -> ModelVersion:
        """Commit a model's next version as its rightful owner would."""
        head = await self.broker.head(model)
        async with self.broker.lease(f"{kind}/{model}", holder="test", ttl_ms=5000) as lease:
            request = CommitRequest(
                lease_id=lease.lease_id,
                token=lease.token,
                expected_head=head.version if head else 0,
                checkpoint=self.store.put(f"{kind}s/{model}", data),
            )
            return await self.broker.commit(model, request)

    async def commit_world_model(self, seed: int = 0, model: str = "wm_00_00") -> ModelVersion:
        torch.manual_seed(seed)
        return await self.commit("world-model", model, save_checkpoint(WorldModel(TINY), {}))

    async def commit_policy(
        self, prefers: int | None = None, world_model_version: int = 1, agent: str = "ag_00_00"
    ) -> ModelVersion:
        head = await self.broker.head(agent)
        card = PolicyCard(
            agent=agent,
            policy_version=(head.version if head else 0) + 1,
            world_model="wm_00_00",
            world_model_version=world_model_version,
            action_table=DEFAULT_ACTIONS.digest,
            config=ActorCriticConfig(embedding_size=TINY.embedding_size, actions=21),
        )
        return await self.commit("agent", agent, save_policy(one_minded(prefers), card))

    async def publish_views(
        self, count: int, *, first: int = 0, data: bytes | None = None, together: bool = False
    ) -> list[View]:
        """Publish views one after the other, or all in one transaction, so that a reader gets all at once."""
        views = []
        pipe = self.clients.commands.pipeline(transaction=True)
        for index in range(first, first + count):
            pose = Pose(pan=float(index % 40), tilt=0.0)
            view = View(
                camera=CAMERA,
                pose=pose,
                pose_before=pose,
                captured_at=utc_now(),
                episode="e",
                step=index,
                limits=PoseLimits(),
                policy="walk",
                width=32,
                height=32,
            )
            blobs = {View.JPEG: jpeg(index) if data is None else data}
            views.append(view)
            if together:
                fields = {FIELD: view.model_dump_json().encode(), **blobs}
                pipe.xadd(StreamName.views(CAMERA), fields)
            else:
                await publish(self.clients.commands, StreamName.views(CAMERA), view, blobs, max_length=512)
        await pipe.execute()
        return views

    async def publish_dreams(self, dreams: Dreams, *, gone: bool = False, **changes: Any) -> DreamBatch:
        said = origin(camera=CAMERA, **changes)
        checkpoint = self.store.put("dreams/wm_00_00", dreams.to_bytes(said))
        message = DreamBatch(
            address=f"dreams/wm_00_00/{'0' * 64}" if gone else checkpoint.address,
            sha256=checkpoint.sha256,
            size=checkpoint.size,
            dreams=len(dreams),
            length=dreams.length,
            camera=CAMERA,
            world_model=said.world_model,
            world_model_version=said.world_model_version,
            agent=said.agent,
            policy_version=said.policy_version,
        )
        await publish(self.clients.commands, StreamName.DREAMS, message, max_length=256)
        return message


def one_minded(prefers: int | None) -> ActorCritic:
    """Return an agent that almost always makes one move, or an untrained one."""
    agent = ActorCritic(ActorCriticConfig(embedding_size=TINY.embedding_size, actions=21))
    if prefers is not None:
        state = agent.state()
        bias = max(name for name in state if name.startswith("policy") and name.endswith("bias"))
        state[bias] = torch.nn.functional.one_hot(torch.tensor(prefers), 21) * 50.0
        agent.load_state(state)
    return agent


@contextlib.asynccontextmanager
async def running(service: Service[Any]) -> AsyncIterator[Service[Any]]:
    """Run a service for as long as the block lasts; then stop it, and fail if it failed or does not stop."""
    service.set_ready("start")
    task = asyncio.create_task(service.run())
    await asyncio.sleep(0)  # it says what it misses before it waits for anything
    try:
        yield service
        if task.done():
            task.result()
    finally:
        service.stopping.set()
        await asyncio.wait_for(task, 20)


async def eventually(done: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """Wait until ``done()``, which may be a coroutine function, returns something true; return that."""
    async with asyncio.timeout(seconds):
        while True:
            result = done()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.02)
    raise AssertionError(what)


def sample(service: Service[Any], name: str, **labels: str) -> float:
    """Return the value of one of the service's metrics."""
    prefix = f"ptz_{service.name.replace('-', '_')}"
    value = service.metrics.registry.get_sample_value(f"{prefix}_{name}", labels)
    assert value is not None, f"{prefix}_{name} {labels}"
    return value


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """As the services run: on shared cores two busy threads are slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def broker_process(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Process]:
    arguments = {"redis_url": redis_server.url, "broker_port": "0", "node": "test"}
    with Process(tmp_path_factory.mktemp("broker"), "-m", "lock_broker", **arguments) as process:
        yield process.ready()


@pytest.fixture
async def system(
    clients: RedisClients, redis_server: RedisServer, broker_process: Process, tmp_path: Path
) -> AsyncIterator[System]:
    del clients  # it empties the server before, and looks for what was left behind after
    around = System(redis_server.url, broker_process, tmp_path / "store")
    yield around
    await around.aclose()
