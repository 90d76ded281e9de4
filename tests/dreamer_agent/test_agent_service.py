from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import torch

from dreamer_agent.agent_service import Learner
from dreamer_agent.agents import RandomAgent, load_policy, save_policy
from dreamer_agent.agents.checkpoint import PolicyCard
from dreamer_agent.dreams import Dreams
from shared.actions import DEFAULT_ACTIONS
from shared.leases import CommitRequest, LeaseRequest, ModelVersion
from shared.messages import StreamName, TrainingProgress
from shared.streams import look_back
from tests.dreamer_agent.conftest import TINY, System, eventually, one_minded, running, sample
from tests.dreamer_agent.worlds import toy_dreams

MODEL = "ag_00_00"


def dreams(seed: int = 0) -> Dreams:
    return toy_dreams(RandomAgent(21), count=16, seed=seed, size=TINY.embedding_size)


async def version_at_least(system: System, version: int) -> ModelVersion | None:
    head = await system.broker.head(MODEL)
    return head if head and head.version >= version else None


async def learn_until(system: System, version: int, **changes: Any) -> ModelVersion:
    """Publish dreams until the head has this version."""
    for seed in range(200):
        await system.publish_dreams(dreams(seed), **changes)
        for _ in range(10):
            if head := await version_at_least(system, version):
                return head
            await asyncio.sleep(0.05)
    raise AssertionError(f"no version {version}")


async def test_it_learns_from_dreams_and_commits_versions_with_their_lineage(system: System) -> None:
    async with running(Learner(system.agent_settings())) as service:
        await learn_until(system, 2, world_model_version=4)
        assert service.not_ready == {}
    head = await system.broker.head(MODEL)
    assert head is not None
    agent, card = load_policy(system.store.get(head.checkpoint), DEFAULT_ACTIONS)
    assert (card.policy_version, card.world_model_version) == (head.version, 4)
    assert head.card["parents"] == [head.version - 1]
    assert head.lineage is not None
    assert [(parent.model, parent.version) for parent in head.lineage.parents] == [
        (MODEL, head.version - 1),
        (card.world_model, 4),
    ]
    assert head.card["dreams"] >= 16
    assert head.card["updates"] == agent.updates > 0
    assert math.isclose(sum(head.card["action_shares"].values()), 1.0, abs_tol=1e-3)
    progress = await look_back(system.clients.commands, StreamName.PROGRESS, TrainingProgress, 64)
    assert progress[-1].message.learner == MODEL
    assert {"policy_loss", "critic_loss", "entropy_share"} <= progress[-1].message.terms.keys()


async def test_a_new_learner_goes_on_where_the_last_one_stopped(system: System) -> None:
    async with running(Learner(system.agent_settings())):
        await learn_until(system, 1)
    head = await system.broker.head(MODEL)
    assert head is not None
    updates = load_policy(system.store.get(head.checkpoint), DEFAULT_ACTIONS)[0].updates
    async with running(Learner(system.agent_settings(updates_per_batch=1))):
        after = await learn_until(system, head.version + 1)
    assert after.version == head.version + 1
    assert after.lineage is not None
    assert head.lineage is not None
    assert after.lineage.restart == head.lineage.restart + 1
    assert after.card["updates"] > updates


async def test_what_it_learnt_last_is_committed_when_it_stops(system: System) -> None:
    async with running(Learner(system.agent_settings(policy_seconds=3600))) as service:
        await system.publish_dreams(dreams())
        await eventually(lambda: sample(service, "updates_total") >= 4, "updates")
        assert await system.broker.head(MODEL) is None
    assert await version_at_least(system, 1)


async def test_useless_dreams_are_counted_and_finished_and_broken_ones_put_aside(system: System) -> None:
    async with running(Learner(system.agent_settings(dream_version_lag=2))) as service:
        await system.publish_dreams(dreams(1), world_model_version=9)
        await system.publish_dreams(dreams(2), world_model_version=7)
        await system.publish_dreams(dreams(3), world_model_version=6)
        await system.publish_dreams(dreams(4), world_model_version=9, gone=True)
        await system.publish_dreams(dreams(5), world_model="wm_00_07")
        await system.publish_dreams(dreams(6), world_model_version=9, action_table="0" * 16)
        await eventually(lambda: sample(service, "ignored_batches_total", reason="unreadable") == 1, "the broken one")
        await eventually(lambda: sample(service, "batches_total") == 2, "the good ones")
        for reason in ("stale", "gone", "other world model"):
            assert sample(service, "ignored_batches_total", reason=reason) == 1
        await eventually(lambda: nothing_pending(system), "acknowledgement")
        dead = await system.clients.commands.xrange(StreamName.DREAMS + ":dead")
        assert b"action table" in dead[0][1][b"reason"]


async def nothing_pending(system: System) -> bool:
    groups = await system.clients.commands.xinfo_groups(StreamName.DREAMS)
    return bool(groups[0]["pending"] == 0)


async def test_a_rival_that_moved_the_head_is_respected(system: System) -> None:
    async with running(Learner(system.agent_settings(policy_seconds=0.05))) as service:
        await learn_until(system, 1)
        lease = next(each for each in await system.broker.leases() if each.resource == f"agent/{MODEL}")
        await system.broker.release(lease.lease_id)
        rival = await system.broker.acquire(LeaseRequest(resource=f"agent/{MODEL}", holder="rival", ttl_ms=5000))
        head = await system.broker.head(MODEL)
        assert head is not None
        agent = one_minded(5)
        agent.updates = 100_000
        card = PolicyCard(
            agent=MODEL,
            policy_version=head.version + 1,
            world_model="wm_00_00",
            world_model_version=1,
            action_table=DEFAULT_ACTIONS.digest,
            config=agent.config,
        )
        request = CommitRequest(
            lease_id=rival.lease_id,
            token=rival.token,
            expected_head=head.version,
            checkpoint=system.store.put(f"agents/{MODEL}", save_policy(agent, card)),
        )
        theirs = await system.broker.commit(MODEL, request)
        await system.broker.release(rival.lease_id)
        after = await learn_until(system, theirs.version + 1)
        assert not service.stopping.is_set()
    assert after.card["updates"] > 100_000
    assert after.card["parents"] == [theirs.version]


async def test_broken_weights_never_become_a_version(system: System) -> None:
    service = Learner(system.agent_settings(policy_seconds=0.05))
    async with running(service):
        await learn_until(system, 1)
        agent = await eventually(lambda: service._agent, "an agent")
        with torch.no_grad():
            next(iter(agent._policy.parameters())).fill_(math.nan)
        agent.updates += 1
        await eventually(lambda: sample(service, "commits_total", outcome="not finite") >= 1, "the refusal")
        head = await system.broker.head(MODEL)
        assert head is not None
        await learn_until(system, head.version + 1)
    for version in await system.broker.versions(MODEL):
        assert load_policy(system.store.get(version.checkpoint), DEFAULT_ACTIONS)[0].finite()


async def test_a_head_whose_file_is_gone_is_made_up_for_by_the_version_before(system: System) -> None:
    await system.commit_policy(prefers=3)
    second = await system.commit_policy(prefers=4)
    system.file(second.checkpoint.address).unlink()
    async with running(Learner(system.agent_settings())) as service:
        after = await learn_until(system, 3)
        assert after.card["action_shares"][DEFAULT_ACTIONS[3].name] > 0.5
        assert sample(service, "policy_version") >= 3


async def test_with_no_file_left_it_waits_instead_of_starting_afresh(system: System) -> None:
    only = await system.commit_policy(prefers=3)
    data = system.store.get(only.checkpoint)
    system.file(only.checkpoint.address).unlink()
    async with running(Learner(system.agent_settings())) as service:
        await eventually(lambda: only.checkpoint.address in service.not_ready.get("lease", ""), "the reason")
        system.store.put(f"agents/{MODEL}", data)
        await eventually(lambda: "lease" not in service.not_ready, "the file is back")
        await learn_until(system, 2)


async def test_any_algorithm_learns_and_another_one_does_not_go_on_from_it(system: System) -> None:
    for algorithm, per_start, options in (("dqn", 1, {"variant": "upstream"}), ("grpo", 4, {})):
        head = await system.broker.head(MODEL)
        version = head.version if head else 0
        async with running(Learner(system.agent_settings(algorithm=algorithm, agent_options=options))):
            for seed in range(200):
                grouped = toy_dreams(
                    RandomAgent(21), count=16 // per_start, per_start=per_start, seed=seed, size=TINY.embedding_size
                )
                await system.publish_dreams(grouped)
                await asyncio.sleep(0.1)
                if head := await version_at_least(system, version + 1):
                    break
        assert head is not None
        agent, card = load_policy(system.store.get(head.checkpoint), DEFAULT_ACTIONS)
        assert (agent.algorithm, card.algorithm, head.card["algorithm"]) == (algorithm,) * 3
        assert card.rewards == {"disagreement": 1.0, "staleness": 0.5}


async def test_a_baseline_has_nothing_to_learn(system: System) -> None:
    async with running(Learner(system.agent_settings(algorithm="raster"))) as service:
        await system.publish_dreams(dreams())
        assert service.not_ready == {}
    assert await system.broker.head(MODEL) is None


async def test_rewards_that_these_dreams_do_not_hold_are_named_and_the_dreams_put_aside(system: System) -> None:
    async with running(Learner(system.agent_settings(rewards={"progress": 1.0}))) as service:
        await system.publish_dreams(replace(dreams(), surprise="error"))
        await eventually(lambda: "PTZ_SURPRISE=progress" in service.not_ready.get("rewards", ""), "the reason")
        dead = await eventually(lambda: system.clients.commands.xrange(StreamName.DREAMS + ":dead"), "a dead letter")
        assert b"progress" in dead[0][1][b"reason"]
        await system.publish_dreams(replace(dreams(), surprise="progress"))
        await eventually(lambda: "rewards" not in service.not_ready, "dreams that hold them")


async def test_staleness_is_told_of_the_views_of_the_camera(system: System) -> None:
    await system.publish_views(5)
    async with running(Learner(system.agent_settings())) as service:
        seen = service._rewards._parts[1].reward.seen
        await eventually(lambda: bool(seen._last.isfinite().any()), "the views from before")
        before = seen._now
        await system.publish_views(1, first=5)
        await eventually(lambda: seen._now > before, "the view that came now")
