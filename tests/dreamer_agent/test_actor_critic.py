from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dreamer_agent.agents import ActorCritic, ActorCriticConfig, Mode, PolicyCard, load_policy, save_policy
from shared.actions import DEFAULT_ACTIONS, ActionTable
from shared.world_model import load_tensors, save_tensors
from tests.dreamer_agent.worlds import SIZE, ToyWorld, toy_dreams

EXCITING = 6
CONFIG = ActorCriticConfig(embedding_size=SIZE, actions=21, hidden_size=64)


def preference(agent: ActorCritic) -> float:
    dreams = toy_dreams(agent, seed=99)
    with torch.no_grad():
        log_probs = agent.log_probabilities(dreams.embeddings.float(), dreams.poses)
    return float(log_probs.exp()[..., EXCITING].mean())


SIZES = {"embedding_size": SIZE, "actions": 21}


def card(**changes: Any) -> PolicyCard:
    fields = {
        "agent": "ag_00_00",
        "policy_version": 3,
        "world_model": "wm_00_00",
        "world_model_version": 5,
        "action_table": DEFAULT_ACTIONS.digest,
        "config": CONFIG,
    }
    return PolicyCard.model_validate(fields | changes)


def trained(updates: int = 3) -> ActorCritic:
    agent = ActorCritic(CONFIG, seed=1)
    for step in range(updates):
        agent.update(toy_dreams(agent, seed=step))
    return agent


def test_it_comes_to_prefer_what_surprises() -> None:
    config = CONFIG.model_copy(update={"policy_rate": 2e-3, "critic_rate": 2e-3})
    agent, world = ActorCritic(config, seed=0), ToyWorld(exciting=EXCITING)
    assert preference(agent) == pytest.approx(1.0 / 21.0)
    for step in range(60):
        # As in life, several updates on dreams of a policy that is somewhat older.
        dreams = toy_dreams(agent, world, count=48, seed=step)
        for _ in range(4):
            terms = agent.update(dreams)
    assert preference(agent) > 0.5
    assert terms["entropy_share"] < 0.9
    assert agent.updates == 240


def test_the_critic_learns_what_a_pose_is_worth() -> None:
    config = CONFIG.model_copy(update={"critic_rate": 3e-3, "discount": 0.9, "policy_rate": 1e-9})
    agent = ActorCritic(config, seed=0)
    terms = {}
    for step in range(100):
        dreams = toy_dreams(agent, seed=step)
        # East of the middle everything surprises, west of it nothing does.
        east = dreams.poses[:, 1:, 0] > 0.0
        terms = agent.update(replace(dreams, rewards=torch.where(east, 1.0, 0.01)))
    assert terms["explained_variance"] > 0.6


def test_an_untrained_agent_moves_evenly_and_repeatably() -> None:
    agent = ActorCritic(CONFIG, seed=4)
    embedding, pose = torch.randn(5, SIZE), torch.zeros(5, 3)
    assert agent.log_probabilities(embedding, pose).exp().flatten().tolist() == pytest.approx([1 / 21] * 105)
    again = ActorCritic(CONFIG, seed=4)
    assert all(torch.equal(value, again.state()[name]) for name, value in agent.state().items())


def test_making_an_agent_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    ActorCritic(CONFIG, seed=4)
    assert torch.equal(torch.rand(3), expected)


def test_no_action_ever_becomes_impossible() -> None:
    agent = ActorCritic(CONFIG)
    state = agent.state()
    head = max(name for name in state if name.startswith("policy") and name.endswith("bias"))
    state[head] = torch.nn.functional.one_hot(torch.tensor(3), 21) * 100.0
    agent.load_state(state)
    log_probs = agent.log_probabilities(torch.randn(2, SIZE), torch.zeros(2, 3))
    assert log_probs.exp().min().item() == pytest.approx(0.01 / 21)
    assert log_probs.exp().sum(-1).tolist() == pytest.approx([1.0, 1.0])
    index, log_prob = agent.act(torch.randn(2, SIZE), torch.zeros(2, 3), Mode.GREEDY)
    assert index.tolist() == [3, 3]
    assert log_prob.tolist() == [0.0, 0.0]


def test_a_ratio_beyond_the_clip_pulls_no_further() -> None:
    agent = trained()
    dreams = toy_dreams(agent, seed=8)
    # The dreamer is said to have been far less likely to choose what it chose: every ratio is far above the clip.
    terms = agent.update(replace(dreams, log_probs=dreams.log_probs - 10.0))
    assert terms["clipped_share"] == 1.0
    fresh = agent.update(toy_dreams(agent, seed=9, random_share=0.0))
    assert fresh["clipped_share"] == 0.0


def test_a_step_that_is_not_finite_is_not_made() -> None:
    agent = trained()
    before = agent.state()
    dreams = toy_dreams(agent)
    terms = agent.update(replace(dreams, log_probs=torch.full_like(dreams.log_probs, math.nan)))
    assert terms["skipped"] == 1.0
    assert agent.updates == int(before["updates"])
    after = agent.state()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith(("policy", "critic")))
    assert agent.finite()


def test_a_checkpoint_goes_on_exactly_where_it_was_left() -> None:
    agent = trained()
    again, said = load_policy(save_policy(agent, card()), DEFAULT_ACTIONS)
    assert said == card()
    dreams = toy_dreams(agent, seed=77)
    assert agent.update(dreams) == again.update(dreams)
    assert all(torch.equal(value, again.state()[name]) for name, value in agent.state().items())


def test_weights_that_are_not_finite_are_never_written() -> None:
    agent = trained()
    with torch.no_grad():
        next(iter(agent._policy.parameters()))[0, 0] = math.nan
    assert not agent.finite()
    with pytest.raises(ValueError, match="not finite"):
        save_policy(agent, card())


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(name)}


BROKEN: list[tuple[str, Callable[[dict[str, torch.Tensor], dict[str, Any]], tuple[Any, Any]]]] = [
    ("not a policy file", lambda state, said: (state, {**said, "format": "other"})),
    ("not a policy file", lambda state, said: (state, ["a list"])),
    ("policy card: world_model_version", lambda state, said: (state, {**said, "world_model_version": 0})),
    ("policy card: .*config.bin_limit", lambda state, said: (state, {**said, "algorithm": "dqn"})),
    ("the algorithm 'x' is none", lambda state, said: (state, {**said, "algorithm": "x", "config": SIZES})),
    ("action table 0123", lambda state, said: (state, {**said, "action_table": "0123"})),
    ("chooses from 9", lambda state, said: (state, {**said, "config": {**said["config"], "actions": 9}})),
    ("shape", lambda state, said: (state, {**said, "config": {**said["config"], "embedding_size": 9}})),
    ("critic: tensors are missing", lambda state, said: (without(state, "critic."), said)),
    ("tensors are missing: \\['updates'\\]", lambda state, said: (without(state, "updates"), said)),
    ("not finite: return_scale", lambda state, said: ({**state, "return_scale": torch.tensor([math.nan])}, said)),
]


@pytest.mark.parametrize(("reason", "change"), BROKEN)
def test_a_file_that_does_not_belong_here_is_refused_with_one_reason(reason: str, change: Any) -> None:
    state, said = load_tensors(save_policy(trained(1), card()))
    with pytest.raises(ValueError, match=reason):
        load_policy(save_tensors(*change(state, said)), DEFAULT_ACTIONS)


def test_no_agent_acts_by_a_table_it_was_not_trained_on() -> None:
    other = ActionTable(actions=DEFAULT_ACTIONS.actions[::-1])
    with pytest.raises(ValueError, match="not with ours"):
        load_policy(save_policy(trained(1), card()), other)
    with pytest.raises(ValueError, match="safetensors"):
        load_policy(b"not a file", DEFAULT_ACTIONS)
