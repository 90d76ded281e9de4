from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from dreamer_agent.agent_service import Learner
from dreamer_agent.agents import LearnedAgent, Mode, PolicyCard, make_agent, save_policy
from dreamer_agent.pilot import Pilot, act
from dreamer_agent.settings import AgentSettings
from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.errors import UserError
from shared.messages import Command, StreamName, View
from shared.streams import Received, look_back
from tests.conftest import RedisServer
from tests.dreamer_agent.conftest import CAMERA, TINY, System, eventually, jpeg, running, sample
from tests.support import Process


async def commands(system: System) -> list[Command]:
    found = await look_back(system.clients.commands, StreamName.commands(CAMERA), Command, 256)
    return [item.message for item in found]


async def answered(system: System, **fields: object) -> Command:
    """Publish views until one is answered by a command with these fields."""
    for index in range(300):
        view = (await system.publish_views(1, first=index))[0]
        for _ in range(20):
            await asyncio.sleep(0.02)
            found = await commands(system)
            if found and found[-1].answers == view.id:
                if all(getattr(found[-1], name) == value for name, value in fields.items()):
                    return found[-1]
                break
    raise AssertionError(f"no command with {fields}")


async def test_it_is_silent_without_a_policy_and_then_answers_the_newest_view(system: System) -> None:
    async with running(Pilot(system.agent_settings(greedy_share=1.0))) as service:
        await eventually(lambda: "camera" not in service.not_ready, "the camera's lease")
        await system.publish_views(3)
        await eventually(lambda: "no version" in service.not_ready.get("policy", ""), "the reason")
        assert await commands(system) == []
        await system.commit_world_model()
        await system.commit_policy(prefers=12)
        command = await answered(system, policy_version=1)
        lease = (await system.broker.leases())[0]
        assert (lease.resource, lease.token) == (f"camera/{CAMERA}", command.token)
        assert command.action.name == "long_right"
        assert (command.agent, command.camera) == ("ag_00_00", CAMERA)
        assert service.not_ready == {}
        assert sample(service, "commands_total", mode="greedy") >= 1
        assert sample(service, "policy_version") == 1
        assert sample(service, "policy_age_seconds") >= 0
        assert sample(service, "act_seconds_count") >= 1


async def test_it_swaps_to_a_new_policy_and_its_world_model(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    service = Pilot(system.agent_settings(greedy_share=1.0))
    async with running(service):
        assert (await answered(system, policy_version=1)).action.name == "long_left"
        await system.commit_world_model(seed=1)
        await system.commit_policy(prefers=12, world_model_version=2)
        assert (await answered(system, policy_version=2)).action.name == "long_right"
        brain = service._head.current
        assert brain is not None
        assert brain.value.card.world_model_version == 2


async def test_a_policy_it_cannot_use_leaves_the_old_one_in_charge(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    service = Pilot(system.agent_settings())
    async with running(service):
        await answered(system, policy_version=1)
        newer = await system.commit_world_model(seed=1)
        system.file(newer.checkpoint.address).unlink()
        await system.commit_policy(prefers=12, world_model_version=2)
        await eventually(lambda: "cannot be used" in service._head.missing, "the reason")
        await answered(system, policy_version=1)
        assert "policy" not in service.not_ready
        await system.commit_policy(prefers=12, world_model_version=7)
        await eventually(lambda: "forgotten" in service._head.missing, "the reason")
        await system.commit_policy(prefers=12, world_model_version=1)
        await answered(system, policy_version=4)


async def test_softmax_moves_are_drawn_and_greedy_ones_are_not(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=None)
    async with running(Pilot(system.agent_settings(greedy_share=0.0))) as service:
        for _ in range(8):
            await answered(system)
        assert len({command.action.name for command in await commands(system)}) > 2
        assert sample(service, "commands_total", mode="greedy") == 0


async def test_the_greedy_share_counts_only_as_far_as_the_policy_is_sure(system: System) -> None:
    await system.commit_world_model()
    view = Received("1-0", (await system.publish_views(1))[0], {View.JPEG: jpeg(0)})
    sure, unsure = await system.commit_policy(prefers=11), await system.commit_policy(prefers=None)
    service = Pilot(system.agent_settings())
    for version, expected in ((sure, Mode.GREEDY), (unsure, Mode.SAMPLE)):
        brain = await service._load(version)
        assert act(brain, view, greedy_share=1.0, daring=0.5).mode is expected
    brain = await service._load(sure)
    chosen = act(brain, view, greedy_share=0.5, daring=0.2)
    assert (chosen.action, chosen.mode) == (11, Mode.GREEDY)
    assert act(brain, view, greedy_share=0.5, daring=0.6).mode is Mode.SAMPLE
    await service._broker.aclose()


async def test_a_view_without_a_picture_does_not_stop_it(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    async with running(Pilot(system.agent_settings())) as service:
        await answered(system)
        await system.publish_views(1, data=b"no JPEG")
        await eventually(lambda: sample(service, "unusable_views_total") == 1, "the count")
        await answered(system)


async def test_it_waits_for_a_camera_that_somebody_else_steers(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    async with running(Pilot(system.agent_settings())) as service:
        async with system.broker.lease(f"camera/{CAMERA}", holder="rival", ttl_ms=5000) as rival:
            if "camera" in service.not_ready:
                await eventually(lambda: "rival" in service.not_ready["camera"], "who holds it")
            await system.publish_views(2)
            assert all(command.token < rival.token for command in await commands(system))
        command = await answered(system)
        assert command.token > rival.token


async def test_it_survives_redis_and_the_broker(own_redis_server: RedisServer, tmp_path: Path) -> None:
    settings = {"redis_url": own_redis_server.url, "broker_port": "0", "node": "test"}
    with Process(tmp_path / "broker", "-m", "lock_broker", **settings) as broker:
        system = System(own_redis_server.url, broker.ready(), tmp_path / "store")
        broker.environment["PTZ_BROKER_PORT"] = system.environment["broker_url"].rpartition(":")[2]
        try:
            await survive(system, own_redis_server, broker)
        finally:
            await system.aclose()


async def survive(system: System, redis: RedisServer, broker: Process) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    async with running(Pilot(system.agent_settings())) as service:
        await answered(system, policy_version=1)
        broker.send(9)
        await answered(system, policy_version=1)  # the lease stands, so it goes on without the broker
        broker.start()
        await asyncio.to_thread(broker.ready)
        await system.commit_policy(prefers=12)
        await answered(system, policy_version=2)
        redis.kill()
        await eventually(lambda: "redis" in service.not_ready, "it noticed")
        await asyncio.to_thread(redis.start)
        await eventually(lambda: "redis" not in service.not_ready, "it noticed again")
        await answered(system, policy_version=2)


async def test_a_command_that_redis_does_not_take_is_given_up(own_redis_server: RedisServer, tmp_path: Path) -> None:
    settings = {"redis_url": own_redis_server.url, "broker_port": "0", "node": "test"}
    with Process(tmp_path / "broker", "-m", "lock_broker", **settings) as broker:
        system = System(own_redis_server.url, broker.ready(), tmp_path / "store")
        await system.commit_world_model()
        await system.commit_policy(prefers=11)
        view = Received("1-0", (await system.publish_views(1))[0], {View.JPEG: jpeg(0)})
        service = Pilot(system.agent_settings())
        async with system.broker.lease(f"camera/{CAMERA}", holder="test", ttl_ms=5000) as lease:
            await service._head.look()
            await service._answer(view, lease, system.clients)
            assert len(await commands(system)) == 1
            own_redis_server.kill()
            await service._answer(view, lease, system.clients)
        assert sample(service, "lost_commands_total") == 1
        await service._broker.aclose()
        await system.aclose()


async def test_of_several_views_only_the_newest_is_answered(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    async with running(Pilot(system.agent_settings())):
        last = await answered(system)
        views = await system.publish_views(3, together=True)
        newest = await eventually(lambda: answer_after(system, last), "an answer")
        assert newest.answers == views[-1].id


async def answer_after(system: System, last: Command) -> Command | None:
    found = await commands(system)
    place = [command.id for command in found].index(last.id)
    return found[place + 1] if len(found) > place + 1 else None


async def test_it_tracks_embeddings_and_action_values_of_the_views_it_answers(system: System, tmp_path: Path) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=12)
    settings = system.agent_settings(greedy_share=1.0, track=tmp_path / "tracks", track_seconds=0.1)
    service = Pilot(settings)
    async with running(service):
        command = await answered(system, policy_version=1)
        brain = service._head.current
        assert brain is not None
        await eventually(lambda: sample(service, "track_rows_total", table="embeddings") >= 1, "a file")
    files = sorted((tmp_path / "tracks" / CAMERA / "embeddings").glob("*.safetensors"))
    found = {}
    for path in files:
        with safe_open(path, "numpy") as file:
            rows = json.loads(file.metadata()["rows"])
            tensors = zip(file.get_tensor("embeddings"), file.get_tensor("log_probabilities"), strict=True)
            found |= {row["view"]: (row, *numbers) for row, numbers in zip(rows, tensors, strict=True)}
    row, embedding, log_probabilities = found[command.answers]
    assert (row["command"], row["action"], row["mode"]) == (command.id, "long_right", "greedy")
    assert (row["policy_version"], row["world_model"], row["world_model_version"]) == (1, "wm_00_00", 1)
    view = next(
        item
        for item in await look_back(system.clients.commands, StreamName.views(CAMERA), View, 512)
        if item.message.id == command.answers
    )
    again = act(brain.value, view, greedy_share=1.0, daring=0.0)
    assert np.array_equal(embedding, again.embedding[0].half().numpy())
    assert np.allclose(log_probabilities, again.log_probabilities[0].numpy())
    assert log_probabilities.argmax() == 12
    assert np.exp(log_probabilities).sum() == pytest.approx(1.0)


async def test_a_baseline_steers_without_policy_picture_or_world_model(system: System) -> None:
    async with running(Pilot(system.agent_settings(algorithm="raster"))) as service:
        command = await answered(system)
        assert (command.policy_version, command.action.name) == (0, "jump_right")
        assert service.not_ready == {}
        assert sample(service, "commands_total", mode="stand-in") >= 1


async def test_the_fallback_steers_until_there_is_a_policy(system: System) -> None:
    await system.commit_world_model()
    async with running(Pilot(system.agent_settings(fallback="raster", greedy_share=1.0))) as service:
        assert (await answered(system)).action.name == "jump_right"
        assert "policy" in service.not_ready
        await system.commit_policy(prefers=11)
        assert (await answered(system, policy_version=1)).action.name == "long_left"


async def test_it_stays_for_as_many_views_as_it_is_told_to_dwell(system: System) -> None:
    await system.commit_world_model()
    await system.commit_policy(prefers=11)
    async with running(Pilot(system.agent_settings(dwell=3, greedy_share=1.0))) as service:
        for _ in range(9):
            await answered(system, policy_version=1)
        names = [command.action.name for command in await commands(system) if command.policy_version == 1]
        assert names[:7] == ["long_left", "noop", "noop"] * 2 + ["long_left"]
        assert sample(service, "commands_total", mode="stay") >= 4


@pytest.mark.parametrize("free", [False, True])
async def test_a_planner_steers_with_the_world_model_it_is_given(system: System, free: bool) -> None:
    await system.commit_world_model()
    agent = make_agent("planner", embedding=TINY.embedding_size, actions=DEFAULT_ACTIONS, method="cem", depth=1)
    assert isinstance(agent, LearnedAgent)
    card = PolicyCard(
        algorithm="planner",
        agent="ag_00_00",
        policy_version=1,
        world_model="wm_00_00",
        world_model_version=1,
        action_table=DEFAULT_ACTIONS.digest,
        config=agent.config,
    )
    await system.commit("agent", "ag_00_00", save_policy(agent, card))
    settings = system.agent_settings(algorithm="planner", greedy_share=1.0, free_moves=free)
    async with running(Pilot(settings)):
        seen = [(await answered(system, policy_version=1)).action for _ in range(4)]
    assert all(DEFAULT_ACTIONS.spans(action) for action in seen)
    assert ("planned" in {action.name for action in seen}) is free


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rewards": {"joy": 1.0}}, "PTZ_REWARDS: no reward 'joy'"),
        ({"rewards": {"extrinsic": 1.0}}, "PTZ_REWARDS: extrinsic"),
        ({"extrinsic": "nowhere"}, "PTZ_EXTRINSIC nowhere"),
        ({"algorithm": "dqn", "agent_options": {"variant": "x"}}, "PTZ_AGENT_OPTIONS: dqn: variant"),
        ({"algorithm": "raster", "agent_options": {"hold": 1}}, "PTZ_AGENT_OPTIONS: .*no option 'hold'"),
        ({"rl_models": 2, "agent": "some"}, "does not end in a number"),
    ],
)
@pytest.mark.parametrize("service", [Pilot, Learner])
def test_settings_that_cannot_work_are_refused_before_anything_begins(
    changes: dict[str, Any], reason: str, service: type[Pilot] | type[Learner]
) -> None:
    with pytest.raises(UserError, match=reason):
        service(AgentSettings(**changes))


def test_dwelling_needs_a_move_that_changes_nothing(tmp_path: Path) -> None:
    table = ActionTable(actions=DEFAULT_ACTIONS.actions[1:])
    path = tmp_path / "table.json"
    path.write_text(table.dump())
    with pytest.raises(UserError, match="PTZ_DWELL"):
        Pilot(AgentSettings(action_table=path, dwell=2))
    Pilot(AgentSettings(action_table=path))
