"""Who steers: which commands of an agent the sampler follows, and what it does without one."""

from __future__ import annotations

import asyncio

import pytest

from camera_sampler.settings import SamplerSettings
from shared.actions import DEFAULT_ACTIONS, Action
from shared.messages import Command, StreamName
from shared.redis_client import RedisClients
from tests.camera_sampler.sampling import (
    RIGHT,
    Agent,
    at_least,
    check_chain,
    eventually,
    fast,
    metric,
    running,
    views,
)
from tests.conftest import RedisServer


async def test_follows_an_agent_and_jumps_between_episodes(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    patient = fast(sampler_settings.redis_url, command_seconds=20.0, views_per_second=20.0)
    async with running(patient, clients) as sampler:
        await agent.steer(30)
        found = await views(clients)
        assert metric(sampler, "steering") == 1.0
    check_chain(found, movements=4)
    steered = [item.message for item in found if item.message.policy == "agent"]
    assert len(steered) >= 15
    assert {view.policy_version for view in steered} == {3}
    assert {view.action for view in steered} == {RIGHT}
    jumps = [item.message for item in found if item.message.step == 0]
    assert len(jumps) >= 4
    assert {view.policy for view in jumps} == {"random-walk"}
    assert {view.policy_version for view in jumps} == {None}
    assert metric(sampler, "commands_total", outcome="followed") >= len(steered)


async def test_refuses_whatever_does_not_answer_the_newest_view_with_the_newest_token(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    patient = fast(sampler_settings.redis_url, command_seconds=20.0, views_per_second=4.0, movements=1000)
    async with running(patient, clients) as sampler:

        async def count(outcome: str, least: int = 1) -> None:
            async def counted() -> bool:
                return metric(sampler, "commands_total", outcome=outcome) >= least

            await eventually(counted)

        jump = await agent.newest()
        await agent.command(jump.id, token=5)
        second = await agent.newest(other_than=jump.id)
        assert (second.policy, second.previous) == ("agent", jump.id)
        # From here on an agent is waited for, so the camera stands until a command is good.
        await agent.command(second.id, token=4)
        await count("bad-token")
        await agent.command(jump.id, token=5)
        await count("late")
        await agent.command("0" * 32, token=5)
        await count("stale")
        await agent.command(second.id, camera="another")
        await count("wrong-camera")
        await agent.command(second.id, action=Action(name="somersault", tilt=80.0))
        await count("unknown-action")
        assert (await agent.newest()).id == second.id
        await agent.command(second.id, token=6, policy_version=9)
        third = await agent.newest(other_than=second.id)
        assert (third.previous, third.policy_version) == (second.id, 9)
        await agent.command(third.id, token=5)
        await count("bad-token", 2)
    assert metric(sampler, "commands_total", outcome="followed") == 2.0


async def test_a_command_that_is_no_message_is_passed_over(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    patient = fast(sampler_settings.redis_url, command_seconds=20.0, views_per_second=4.0)
    async with running(patient, clients):
        jump = await agent.newest()
        await clients.commands.xadd(StreamName.commands("camera-0"), {"message": b"\xff{"})
        await agent.command(jump.id)
        assert (await agent.newest(other_than=jump.id)).policy == "agent"


async def test_of_two_answers_the_newer_token_wins(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    async with running(fast(sampler_settings.redis_url, views_per_second=1.0), clients) as sampler:
        jump = await agent.newest()
        stream, left = StreamName.commands("camera-0"), DEFAULT_ACTIONS[DEFAULT_ACTIONS.index("long_left")]
        async with clients.commands.pipeline(transaction=True) as pipe:  # both in one reading
            for token, action in ((5, RIGHT), (6, left)):
                command = Command(
                    camera="camera-0", answers=jump.id, action=action, token=token, agent="ag_00_00", policy_version=1
                )
                pipe.xadd(stream, {b"message": command.model_dump_json().encode()})
            await pipe.execute()
        assert (await agent.newest(other_than=jump.id)).action == left
        assert metric(sampler, "commands_total", outcome="bad-token") == 1.0


async def test_every_command_is_accounted_for(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    """The answers to the last views of episodes, too, from which the camera jumps."""
    patient = fast(sampler_settings.redis_url, command_seconds=20.0, views_per_second=10.0, movements=1)
    async with running(patient, clients) as sampler:
        await agent.steer(8)

        async def all_counted() -> bool:
            outcomes = ("followed", "late", "stale", "bad-token", "wrong-camera", "unknown-action")
            return sum(metric(sampler, "commands_total", outcome=outcome) for outcome in outcomes) == 8.0

        await eventually(all_counted)
        assert metric(sampler, "commands_total", outcome="late") >= 3.0


async def test_a_restart_lets_no_old_agent_back_in(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    await agent.command("f" * 32, token=8)
    slow = fast(sampler_settings.redis_url, views_per_second=2.0)
    async with running(slow, clients) as sampler:
        jump = await agent.newest()
        await agent.command(jump.id, token=7)
        assert (await agent.newest(other_than=jump.id)).policy == "random-walk"
        assert metric(sampler, "commands_total", outcome="bad-token") == 1.0


async def test_falls_back_without_an_agent_and_keeps_its_pace(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    settings = fast(sampler_settings.redis_url, command_seconds=0.5)
    async with running(settings, clients) as sampler:
        await agent.steer(6)
        followed = metric(sampler, "commands_total", outcome="followed")
        assert followed >= 1.0
        before = len(await views(clients))
        await at_least(clients, before + 20)
        assert metric(sampler, "steering") == 0.0
        assert metric(sampler, "fallbacks_total", policy="random-walk") >= 10.0
    check_chain(await views(clients), movements=4)


async def test_own_policies_listen_to_nobody(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent
) -> None:
    async with running(fast(sampler_settings.redis_url, policy="random-walk", views_per_second=20.0), clients):
        await agent.steer(10)
    assert {item.message.policy for item in await views(clients)} == {"random-walk"}


async def test_an_agent_steers_again_after_redis_was_away(own_redis_server: RedisServer) -> None:
    settings = fast(own_redis_server.url, views_per_second=20.0)
    connections = RedisClients.from_settings(settings)
    agent = Agent(connections)
    try:
        async with running(settings, connections) as sampler:
            await agent.steer(4)
            await asyncio.to_thread(own_redis_server.kill)
            await asyncio.to_thread(own_redis_server.start)
            before = metric(sampler, "commands_total", outcome="followed")

            async def steered() -> bool:
                await agent.steer(2)
                return metric(sampler, "commands_total", outcome="followed") > before

            await eventually(steered)
    finally:
        await connections.aclose()


@pytest.mark.parametrize("allowed", [False, True])
async def test_free_moves_are_followed_only_where_they_are_allowed_and_not_too_large(
    clients: RedisClients, sampler_settings: SamplerSettings, agent: Agent, allowed: bool
) -> None:
    free, large = Action(name="planned", pan=3.3, tilt=-1.0), Action(name="planned", pan=33.0)
    patient = fast(
        sampler_settings.redis_url, command_seconds=20.0, views_per_second=4.0, movements=1000, free_moves=allowed
    )
    async with running(patient, clients) as sampler:

        async def refused() -> bool:
            return metric(sampler, "commands_total", outcome="unknown-action") >= 1

        # Only an agent that it has heard once does the sampler wait for.
        view = await agent.newest()
        while view.policy != "agent":
            await agent.command(view.id, token=5)
            view = await agent.newest(other_than=view.id)
        await agent.command(view.id, token=5, action=large if allowed else free)
        await eventually(refused)
        if allowed:
            await agent.command(view.id, token=5, action=free)
            following = await agent.newest(other_than=view.id)
            assert (following.previous, following.action) == (view.id, free)
