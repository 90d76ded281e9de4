"""Pools of world models and agents: who dreams from which, who learns from which, who steers."""

from __future__ import annotations

import pytest

from dreamer_agent.agent_service import Learner
from dreamer_agent.agents import load_policy
from dreamer_agent.dream_service import DreamGenerator
from dreamer_agent.pilot import Pilot
from dreamer_agent.pools import pool
from shared.actions import DEFAULT_ACTIONS
from shared.errors import UserError
from shared.leases import ModelVersion
from shared.messages import DreamBatch, StreamName
from shared.streams import look_back
from tests.dreamer_agent.conftest import System, eventually, running
from tests.dreamer_agent.test_agent_service import dreams
from tests.dreamer_agent.test_pilot import answered


def test_a_pool_is_numbered_on_from_its_first() -> None:
    assert pool("wm_00_00", 3) == ["wm_00_00", "wm_00_01", "wm_00_02"]
    assert pool("wm_01_98", 3)[-1] == "wm_01_100"
    assert pool("anything", 1) == ["anything"]
    with pytest.raises(UserError, match="does not end in a number"):
        pool("anything", 2)


async def test_the_dreamer_turns_to_the_world_model_that_the_setting_says(system: System) -> None:
    for model in ("wm_00_00", "wm_00_01"):
        await system.commit_world_model(model=model)
    await system.publish_views(20)
    settings = {"models": 3, "dream_turn": 1, "dream_backlog": 200}
    async with running(DreamGenerator(system.dream_settings(**settings, dream_world_model="freshest"))):
        await eventually(lambda: dreamt_of(system, {"wm_00_01": 3}), "dreams of the freshest")
        assert "wm_00_00" not in await counts(system)
        await system.commit_world_model(seed=1)
        await eventually(lambda: dreamt_of(system, {"wm_00_00": 1}), "dreams of what is the freshest now")
    async with running(DreamGenerator(system.dream_settings(**settings, dream_world_model="least_dreamed"))):
        most = max((await counts(system)).values())
        await eventually(lambda: dreamt_of(system, {"wm_00_00": most, "wm_00_01": most}), "as many of both")


async def counts(system: System) -> dict[str, int]:
    found = await look_back(system.clients.commands, StreamName.DREAMS, DreamBatch, 256)
    names = [item.message.world_model for item in found]
    return {name: names.count(name) for name in set(names)}


async def dreamt_of(system: System, wanted: dict[str, int]) -> bool:
    found = await counts(system)
    return all(found.get(name, 0) >= count for name, count in wanted.items())


async def test_learners_of_a_pool_take_one_agent_each_and_the_next_when_its_run_is_over(system: System) -> None:
    settings = system.agent_settings(rl_models=2, run_seconds=0.5, updates_per_batch=1)
    async with running(Learner(settings)):
        for seed in range(400):
            await system.publish_dreams(dreams(seed))
            if await both_have_learnt(system):
                break
            await eventually(lambda: nothing_unread(system), "the learner")
    assert await both_have_learnt(system)


async def both_have_learnt(system: System) -> bool:
    return all([await system.broker.head(name) for name in ("ag_00_00", "ag_00_01")])


async def nothing_unread(system: System) -> bool:
    groups = await system.clients.commands.xinfo_groups(StreamName.DREAMS)
    return bool(groups and groups[0]["lag"] == 0)


@pytest.mark.parametrize("loyal", [True, False])
async def test_a_loyal_agent_stays_with_the_world_model_it_learnt_from(system: System, loyal: bool) -> None:
    async with running(Learner(system.agent_settings())):
        await system.publish_dreams(dreams())
        await eventually(lambda: system.broker.head("ag_00_00"), "a version")
    before = await system.broker.head("ag_00_00")
    assert before is not None
    async with running(Learner(system.agent_settings(models=2, loyal=loyal))):
        for seed in range(1, 100):
            await system.publish_dreams(dreams(seed), world_model="wm_00_01")
            if loyal:
                await system.publish_dreams(dreams(seed + 100), world_model="wm_00_00")
            await eventually(lambda: nothing_unread(system), "the learner")
            if after := await newer(system, before.version):
                break
    assert after is not None
    _, card = load_policy(system.store.get(after.checkpoint), DEFAULT_ACTIONS)
    assert card.world_model == ("wm_00_00" if loyal else "wm_00_01")


async def newer(system: System, version: int) -> ModelVersion | None:
    head = await system.broker.head("ag_00_00")
    return head if head and head.version > version else None


async def test_the_pilot_changes_to_another_agent_that_has_a_policy(system: System) -> None:
    await system.commit_world_model()
    settings = system.agent_settings(rl_models=3, run_seconds=0.3, greedy_share=1.0)
    async with running(Pilot(settings)):
        await system.commit_policy(prefers=11, agent="ag_00_01")
        assert (await answered(system, agent="ag_00_01")).action.name == "long_left"
        await system.commit_policy(prefers=12, agent="ag_00_02")
        assert (await answered(system, agent="ag_00_02")).action.name == "long_right"
        await answered(system, agent="ag_00_01")


async def test_dreams_are_dreamt_by_any_agent_of_the_pool(system: System) -> None:
    await system.commit_world_model()
    for agent in ("ag_00_00", "ag_00_01"):
        await system.commit_policy(prefers=11, agent=agent)
    await system.publish_views(20)
    settings = system.dream_settings(rl_models=2, dream_turn=1, dream_backlog=250, dream_world_model="random")
    async with running(DreamGenerator(settings)):
        await eventually(lambda: dreamers(system, {"ag_00_00", "ag_00_01"}), "both")


async def dreamers(system: System, wanted: set[str]) -> bool:
    found = await look_back(system.clients.commands, StreamName.DREAMS, DreamBatch, 256)
    return {item.message.agent for item in found if item.message.policy_version == 1} == wanted
