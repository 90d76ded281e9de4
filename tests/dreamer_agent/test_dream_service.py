from __future__ import annotations

import signal
from pathlib import Path

import pytest

from dreamer_agent.backlog import unfinished
from dreamer_agent.dream_service import DreamGenerator
from dreamer_agent.dreams import Dreams
from shared.actions import DEFAULT_ACTIONS
from shared.messages import Checkpoint, DreamBatch, StreamName, Surprise
from shared.streams import Consumer, look_back, publish
from tests.dreamer_agent.conftest import CAMERA, TINY, System, eventually, running, sample
from tests.support import Process


async def batches(system: System) -> list[DreamBatch]:
    found = await look_back(system.clients.commands, StreamName.DREAMS, DreamBatch, 256)
    return [item.message for item in found]


async def first_batch(system: System) -> DreamBatch:
    return (await eventually(lambda: batches(system), "a batch of dreams"))[0]


async def test_it_says_what_it_waits_for_and_then_dreams_by_chance(system: System) -> None:
    async with running(DreamGenerator(system.dream_settings())) as service:
        await eventually(lambda: "no version" in service.not_ready.get("world-model", ""), "the reason")
        await system.publish_views(15)
        await eventually(lambda: service.not_ready.get("views") == "15 of 16 views", "views")
        await system.commit_world_model()
        await eventually(lambda: "world-model" not in service.not_ready, "the world model")
        assert await batches(system) == []
        await system.publish_views(1, first=15)
        batch = await first_batch(system)
        assert service.not_ready == {}
    assert (batch.dreams, batch.length, batch.policy_version, batch.world_model_version) == (8, 4, 0, 1)
    data = system.store.get(Checkpoint(address=batch.address, sha256=batch.sha256, size=batch.size))
    dreams, origin = Dreams.from_bytes(data)
    assert dreams.embeddings.shape == (8, 5, TINY.embedding_size)
    assert (origin.camera, origin.action_table) == (CAMERA, DEFAULT_ACTIONS.digest)
    assert set(dreams.poses[:, 0, 0].tolist()) <= {float(pan) for pan in range(16)}
    assert sample(service, "dreams_total") >= 8


async def test_it_dreams_under_the_newest_policy_and_world_model(system: System) -> None:
    await system.commit_world_model()
    await system.publish_views(20)
    async with running(DreamGenerator(system.dream_settings(dream_backlog=200))):
        await first_batch(system)
        await system.commit_policy(prefers=11)
        await eventually(lambda: newest_is(system, policy_version=1), "dreams by the policy")
        await system.commit_world_model(seed=1)
        batch = await eventually(lambda: newest_is(system, world_model_version=2), "dreams from the newer version")
    dreams, _ = Dreams.from_bytes(
        system.store.get(Checkpoint(address=batch.address, sha256=batch.sha256, size=batch.size))
    )
    assert float((dreams.actions == 11).float().mean()) > 0.5


async def newest_is(system: System, **fields: int) -> DreamBatch | None:
    found = await batches(system)
    return found[-1] if found and all(getattr(found[-1], name) == value for name, value in fields.items()) else None


async def test_it_pauses_while_the_learner_has_enough_to_do(system: System) -> None:
    await system.commit_world_model()
    await system.publish_views(16)
    consumer = Consumer(system.clients, StreamName.DREAMS, DreamBatch, group="rl-agent", name="test")
    async with running(DreamGenerator(system.dream_settings(dream_backlog=2))) as service:
        await eventually(lambda: sample(service, "skipped_total", reason="backlog") >= 3, "pauses")
        assert len(await batches(system)) == 2
        received = []
        while len(received) < 2:
            received += await consumer.read(block_ms=100)
        await eventually(lambda: sample(service, "skipped_total", reason="backlog") >= 6, "pauses")
        assert len(await batches(system)) == 2
        await consumer.done(received)
        await eventually(lambda: enough(system, 4), "dreams again")


async def enough(system: System, count: int) -> bool:
    return len(await batches(system)) >= count


async def test_unfinished_counts_unread_and_unacknowledged_alike(system: System) -> None:
    redis, stream = system.clients.commands, "ptz:some"
    assert await unfinished(redis, stream, "g", at_most=5) == 0
    for _ in range(4):
        await redis.xadd(stream, {"a": "b"})
    assert await unfinished(redis, stream, "g", at_most=9) == 4
    assert await unfinished(redis, stream, "g", at_most=3) == 3
    await redis.xgroup_create(stream, "g", id="0")
    reply = await redis.xreadgroup("g", "me", {stream: ">"}, count=3)
    assert await unfinished(redis, stream, "g", at_most=9) == 4
    await redis.xack(stream, "g", reply[0][1][0][0], reply[0][1][1][0])
    assert await unfinished(redis, stream, "g", at_most=9) == 2


async def test_files_are_bounded(system: System, tmp_path: Path) -> None:
    await system.commit_world_model()
    await system.publish_views(16)
    async with running(DreamGenerator(system.dream_settings(dream_files=3, dream_backlog=200))) as service:
        await eventually(lambda: sample(service, "dreams_total") >= 8 * 8, "eight batches")
    assert len(list((tmp_path / "store" / "dreams" / "wm_00_00").iterdir())) == 3


async def test_views_that_cannot_be_decoded_are_put_aside_with_the_reason(system: System) -> None:
    await system.publish_views(2)
    async with running(DreamGenerator(system.dream_settings())) as service:
        await eventually(lambda: service.not_ready.get("views", "").startswith("2"), "views")
        await system.publish_views(1, data=b"no JPEG")
        dead = await eventually(
            lambda: system.clients.commands.xrange(StreamName.views(CAMERA) + ":dead"), "a dead letter"
        )
    assert b"not a whole JPEG" in dead[0][1][b"reason"]


async def test_surprising_views_become_more_likely_starts(system: System) -> None:
    views = await system.publish_views(16)
    for view in views:
        error = 50.0 if view is views[3] else 1.0
        message = Surprise(
            camera=CAMERA,
            view=view.id,
            world_model="wm_00_00",
            world_model_version=1,
            error=error,
            copy_last_error=1.0,
            predicted=1.0,
        )
        await publish(system.clients.commands, StreamName.surprise(CAMERA), message, max_length=64)
    service = DreamGenerator(system.dream_settings())
    async with running(service):
        await eventually(lambda: "views" not in service.not_ready, "views")
        await eventually(lambda: max(service._pool.weights()) == service._pool.weights()[3], "the weight")
    assert service._pool.weights()[3] > 0.25


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_after_a_restart_it_has_its_starts_again(system: System, tmp_path: Path, signum: int) -> None:
    await system.commit_world_model()
    await system.publish_views(16)
    settings = system.environment | {"number_of_dreams": "8", "dream_interval": "0.02", "dream_backlog": "200"}
    with Process(tmp_path / "dream", "-m", "dreamer_agent", "dream", **settings) as process:
        await first_batch(system)
        process.send(signum)
        code = process.wait()
        assert code == (0 if signum == signal.SIGTERM else -signal.SIGKILL)
        before = len(await batches(system))
        process.start()
        await eventually(lambda: enough(system, before + 2), "dreams from views that were acknowledged before")


async def test_dreams_of_a_group_begin_at_one_view_and_random_dreams_ask_no_policy(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    await system.publish_views(20)
    settings = {"algorithm": "grpo", "number_of_dreams": 40, "dream_backlog": 200}
    async with running(DreamGenerator(system.dream_settings(**settings))):
        batch = await eventually(lambda: newest_is(system, policy_version=1), "dreams by the policy")
    dreams, origin = Dreams.from_bytes(
        system.store.get(Checkpoint(address=batch.address, sha256=batch.sha256, size=batch.size))
    )
    assert dreams.starts.tolist() == [0] * 16 + [1] * 16
    for first in (0, 16):
        assert len(dreams.embeddings[first : first + 16, 0].unique(dim=0)) == 1
    assert origin.surprise == TINY.surprise
    assert float((dreams.actions == 11).float().mean()) > 0.5
    async with running(DreamGenerator(system.dream_settings(dream_policy="random", dream_backlog=200))):
        before = len(await batches(system))
        await eventually(lambda: enough(system, before + 10), "random dreams")
    batch = (await batches(system))[-1]
    dreams, _ = Dreams.from_bytes(
        system.store.get(Checkpoint(address=batch.address, sha256=batch.sha256, size=batch.size))
    )
    assert float((dreams.actions == 11).float().mean()) < 0.5


async def test_a_policy_of_another_world_model_does_not_dream(system: System) -> None:
    await system.commit_world_model(model="wm_00_01")
    await system.commit_policy(prefers=11)
    await system.publish_views(20)
    async with running(DreamGenerator(system.dream_settings(world_model="wm_00_01", dream_backlog=200))) as service:
        await eventually(lambda: service._policy.current, "the policy")
        before = len(await batches(system))
        await eventually(lambda: enough(system, before + 3), "dreams")
    assert {batch.policy_version for batch in await batches(system)} == {0}
