"""What all agents have in common, and what is particular to those that learn in other ways than the default one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from dreamer_agent.agents import AGENTS, BASELINES, LearnedAgent, Mode, PolicyCard, load_policy, make_agent, save_policy
from dreamer_agent.agents.base import Agent, certainty, choose, views_to_stay
from dreamer_agent.agents.dqn import DQN, DQNConfig, signs_of_change
from dreamer_agent.agents.grpo import GRPO, group_advantages
from dreamer_agent.agents.registry import CONFIGS
from dreamer_agent.dreams import Dreams
from dreamer_agent.reach import action_tensor
from dreamer_agent.rewards import make_rewards
from dreamer_agent.settings import AgentName, BaselineName
from shared.actions import DEFAULT_ACTIONS
from tests.dreamer_agent.worlds import SIZE, ToyWorld, toy_dreams

EXCITING = 6
VIEW = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(0))
POSE = torch.tensor([[0.0, 0.0, 1.0], [170.0, 20.0, 1.5], [-30.0, -10.0, 1.0], [90.0, 55.0, 3.0]])
FAST: dict[str, dict[str, Any]] = {
    "actor_critic": {"policy_rate": 3e-3, "critic_rate": 3e-3},
    "dqn": {"policy_rate": 3e-3, "target_rates": (0.05, 0.05), "discount": 0.8},
    "ppo": {"policy_rate": 2e-3, "critic_rate": 2e-3, "passes": 2},
    "grpo": {"policy_rate": 5e-3},
}


def make(name: str, **options: Any) -> Agent:
    return make_agent(name, embedding=SIZE, actions=DEFAULT_ACTIONS, seed=1, world_model=ToyWorld(EXCITING), **options)


def learner(name: str, **options: Any) -> LearnedAgent:
    agent = make(name, **options)
    assert isinstance(agent, LearnedAgent)
    return agent


def dreams_for(agent: Agent, seed: int, *, count: int = 64, random_share: float = 0.1) -> Dreams:
    per_start = 16 if agent.algorithm == "grpo" else 1
    world = ToyWorld(EXCITING)
    return toy_dreams(agent, world, count=count // per_start, per_start=per_start, seed=seed, random_share=random_share)


def test_settings_and_registry_name_the_same_agents() -> None:
    assert get_args(AgentName) == AGENTS
    assert get_args(BaselineName) == BASELINES


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_gives_probabilities_and_is_not_changed_by_being_asked(name: str) -> None:
    agent = make(name)
    first = agent.log_probabilities(VIEW, POSE)
    assert first.shape == (4, 21)
    assert first.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert torch.equal(first, agent.log_probabilities(VIEW, POSE))
    index, log_prob = agent.act(VIEW, POSE, Mode.SAMPLE, generator=torch.Generator().manual_seed(0))
    assert index.shape == log_prob.shape == (4,)
    assert bool(((index >= 0) & (index < 21)).all())


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_can_dream(name: str) -> None:
    dreams = dreams_for(make(name), 0, count=16)
    assert len(dreams) == 16
    dreams.check()


@pytest.mark.parametrize("name", FAST)
def test_every_learning_agent_comes_to_prefer_what_pays(name: str) -> None:
    agent = learner(name, **FAST[name])
    for step in range(30):
        dreams = dreams_for(agent, step)
        for _ in range(2):
            terms = agent.update(dreams)
    assert terms["skipped"] == 0.0
    assert agent.updates == 60
    chosen = agent.log_probabilities(VIEW, torch.zeros(4, 3) + torch.tensor([0.0, 0.0, 1.0])).argmax(dim=1)
    assert chosen.tolist() == [EXCITING] * 4


@pytest.mark.parametrize("name", CONFIGS)
def test_every_checkpoint_goes_on_exactly_where_it_was_left(name: str) -> None:
    agent = learner(name)
    for step in range(3):
        agent.update(dreams_for(agent, step))
    card = PolicyCard(
        algorithm=name,
        agent="ag_00_00",
        policy_version=1,
        world_model="wm_00_00",
        world_model_version=1,
        action_table=DEFAULT_ACTIONS.digest,
        config=agent.config,
        rewards={"surprise": 1.0},
    )
    again, said = load_policy(save_policy(agent, card), DEFAULT_ACTIONS)
    assert said == card
    assert type(said.config) is CONFIGS[name]
    assert type(again) is type(agent)
    assert again.updates == agent.updates
    dreams = dreams_for(agent, 9)
    assert agent.update(dreams) == again.update(dreams)
    state = agent.state()
    assert state.keys() == again.state().keys()
    assert all(torch.equal(value, again.state()[key]) for key, value in state.items())


@pytest.mark.parametrize("name", FAST)
def test_a_step_that_is_not_finite_is_never_made(name: str) -> None:
    agent = learner(name)
    agent.update(dreams_for(agent, 0))
    before = agent.state()
    dreams = dreams_for(agent, 1)
    broken = replace(dreams, log_probs=torch.full_like(dreams.log_probs, math.nan))
    if name == "dqn":
        broken = replace(dreams, embeddings=torch.full_like(dreams.embeddings, math.nan))
    assert agent.update(broken)["skipped"] == 1.0
    after = agent.state()
    networks = [key for key in before if key.split(".")[0] in {"policy", "critic", "slow_critic", "values", "target"}]
    assert networks
    assert all(torch.equal(before[key], after[key]) for key in networks)


def test_options_and_names_that_cannot_be_are_refused_with_the_reason() -> None:
    for name, options, reason in (
        ("oracle", {}, "no agent 'oracle': there are actor_critic"),
        ("dqn", {"variant": "other"}, "dqn: variant"),
        ("ppo", {"passes": 0}, "ppo: passes"),
        ("raster", {"speed": 3}, "'raster' has no option 'speed'"),
        ("sticky", {"hold": 1.0}, "below one"),
    ):
        with pytest.raises(ValueError, match=reason):
            make(name, **options)


@pytest.mark.parametrize("dwell", [1.0, 1.1, 2.0, 3.75])
def test_views_to_stay_come_to_what_is_asked_for_on_average(dwell: float) -> None:
    stays = [views_to_stay(dwell, (index + 0.5) / 1000) for index in range(1000)]
    assert 1.0 + sum(stays) / 1000 == pytest.approx(dwell)
    assert max(stays) - min(stays) <= 1


def test_certainty_is_one_for_a_choice_without_alternative_and_zero_for_an_even_one() -> None:
    sure = torch.full((1, 21), -math.inf)
    sure[0, 4] = 0.0
    even = torch.full((1, 21), -math.log(21.0))
    assert certainty(torch.cat([sure, even])).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert choose(sure, Mode.SAMPLE)[0].tolist() == [4]


# --- DQN ---------------------------------------------------------------------------------------------------------


def test_upstream_has_ptzjepas_settings_and_learns_from_signs_of_random_dreams() -> None:
    config = DQNConfig.of("upstream", embedding_size=SIZE, actions=21)
    assert (config.discount, config.steps, config.policy_rate) == (0.99, 1, 1e-4)
    assert (config.target_rates, config.unimix) == ((5e-4, 5e-5), 0.0)
    agent = DQN(config)
    assert agent.dreams_at_random
    assert not learner("dqn").dreams_at_random
    dreams = dreams_for(agent, 0, random_share=0.0)
    assert torch.allclose(dreams.log_probs, torch.full_like(dreams.log_probs, -math.log(21.0)))
    rewards = torch.tensor([[5.0, 4.0, 4.0, 6.0], [-1.0, 0.0, 1.0, 0.5]])
    assert signs_of_change(rewards).tolist() == [[1.0, -1.0, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0]]


@pytest.mark.parametrize("variant", ["upstream", "fixed"])
def test_one_update_of_q_learning_is_the_formula(variant: str) -> None:
    agent = DQN(
        DQNConfig.of(
            variant, embedding_size=SIZE, actions=21, policy_rate=1e-3, target_rates=(0.5, 0.5), pose_hidden=0.0
        )
    )
    for step in range(3):
        agent.update(dreams_for(agent, step))
    dreams = dreams_for(agent, 7, count=8)
    upstream = variant == "upstream"
    # The two networks must not agree on which move is best.
    generator = torch.Generator().manual_seed(3)
    state = {
        name: torch.randn(value.shape, generator=generator) if name.startswith("target.") else value
        for name, value in agent.state().items()
    }
    agent.load_state(state)
    online, target = DQN(agent.config), DQN(agent.config)
    for other, source in ((online, "values"), (target, "target")):
        weights = {
            key.removeprefix(f"{source}."): value for key, value in state.items() if key.startswith(f"{source}.")
        }
        for prefix, network in other._networks().items():
            network.load_state_dict(weights)
            del prefix
    rewards, _ = agent.rewards.combine(dreams, learn=False)
    # What the update will see: its scales take these dreams in first.
    scale = make_rewards({"surprise": 1.0})
    scale.load_state({"surprise": state["reward.surprise"]})
    rewards, _ = scale.combine(dreams)
    if upstream:
        rewards = signs_of_change(rewards)
    gamma, steps = agent.config.discount, agent.config.steps
    losses = []
    with torch.no_grad():
        for row in range(8):
            values = [net.values(dreams.embeddings[row].float(), dreams.poses[row]) for net in (online, target)]
            for t in range(10):
                last = min(t + steps, 10)
                best = (values[1] if upstream else values[0])[last].argmax()
                wanted = sum(gamma ** (k - t) * rewards[row, k] for k in range(t, last))
                wanted = wanted + gamma ** (last - t) * values[1][last, best]
                apart = (values[0][t, dreams.actions[row, t]] - wanted).abs()
                losses.append(0.5 * apart**2 if apart < 1.0 else apart - 0.5)
    assert agent.update(dreams)["value_loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)
    after = agent.state()
    for key, value in after.items():
        if key.startswith("target."):
            online_now = after[key.replace("target.", "values.")]
            assert torch.allclose(value, state[key] + 0.5 * (online_now - state[key]), atol=1e-6)


def test_what_steers_is_the_target_network_upstream_and_the_learning_one_in_fixed() -> None:
    for variant, moved in (("upstream", False), ("fixed", True)):
        agent = DQN(DQNConfig.of(variant, embedding_size=SIZE, actions=21, target_rates=(1e-9, 1e-9), policy_rate=1e-2))
        before = agent.values(VIEW, POSE)
        for step in range(3):
            agent.update(dreams_for(agent, step))
        assert (not torch.allclose(before, agent.values(VIEW, POSE), atol=1e-4)) is moved


# --- GRPO --------------------------------------------------------------------------------------------------------


def test_advantages_compare_with_dreams_from_the_same_start_only() -> None:
    gained = torch.tensor([1.0, 3.0, 100.0, 102.0, 7.0])
    gains, grouped = group_advantages(gained, torch.tensor([4, 4, 0, 0, 9], dtype=torch.int32))
    assert gains.tolist() == pytest.approx([-1.0, 1.0, -1.0, 1.0, 0.0], abs=1e-4)
    assert grouped.tolist() == [True, True, True, True, False]


def test_dreams_that_are_alone_teach_grpo_nothing() -> None:
    agent = learner("grpo")
    assert isinstance(agent, GRPO)
    terms = agent.update(toy_dreams(agent, ToyWorld(EXCITING)))
    assert (terms["skipped"], terms["grouped_share"]) == (1.0, 0.0)
    assert agent.updates == 0


# --- planner -----------------------------------------------------------------------------------------------------


class Lookout(ToyWorld):
    """Expects surprise in one direction: the further from it the camera looks, the less."""

    def __init__(self, pan: float, tilt: float) -> None:
        super().__init__(EXCITING)
        self._goal = torch.tensor([pan, tilt])

    def predict(self, embedding: Any, pose: Any, action: Any, next_pose: Any) -> Any:
        foreseen = super().predict(embedding, pose, action, next_pose)
        foreseen.surprise = torch.exp(-(next_pose[:, :2] - self._goal).norm(dim=-1) / 10.0)
        return foreseen


def planner(world: ToyWorld, **options: Any) -> LearnedAgent:
    agent = make_agent(
        "planner", embedding=SIZE, actions=DEFAULT_ACTIONS, world_model=world, **{"unimix": 0.0, **options}
    )
    assert isinstance(agent, LearnedAgent)
    return agent


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_beam_heads_for_where_the_reward_is(depth: int) -> None:
    agent, pose = planner(Lookout(40.0, 20.0), depth=depth), torch.tensor([[0.0, 0.0, 1.0]])
    index, _ = agent.act(VIEW[:1], pose, Mode.GREEDY)
    assert DEFAULT_ACTIONS[int(index)].name in {"jump_right", "jump_up"}


def test_a_beam_as_wide_as_the_table_is_exhaustive() -> None:
    world, pose = Lookout(12.0, 3.0), torch.tensor([[0.0, 0.0, 1.0]])
    agent = planner(world, depth=2, beam=21, temperature=1.0)
    moves = action_tensor(DEFAULT_ACTIONS)
    gains = torch.zeros(21, 21, 2)
    for i, first in enumerate(moves):
        after = pose + first
        gains[i, :, 0] = world.predict(VIEW[:1], pose, first, after).surprise
        for j, second in enumerate(moves):
            gains[i, j, 1] = world.predict(VIEW[:1], after, second, after + second).surprise
    worth = torch.log(gains + 0.01 * gains.mean())
    best = (worth[..., 0] + 0.97 * worth[..., 1]).amax(dim=1)
    found = agent.log_probabilities(VIEW[:1], pose)[0]
    assert torch.allclose(found, best.log_softmax(dim=0), atol=1e-4)


def test_free_moves_come_nearer_than_the_tables_and_say_what_they_meant() -> None:
    agent, pose = planner(Lookout(7.0, 4.5), method="cem", depth=1), torch.tensor([[0.0, 0.0, 1.0]])
    log_probs = agent.log_probabilities(VIEW[:1], pose)
    assert agent.meant is not None
    assert agent.meant[0, :2].tolist() == pytest.approx([7.0, 4.5], abs=1.5)
    nearest = (action_tensor(DEFAULT_ACTIONS) - agent.meant[0]).square().sum(dim=1)
    assert bool(torch.isfinite(log_probs[0].max()))
    assert DEFAULT_ACTIONS[int(log_probs.argmax())].name in {"jump_right", "jump_up"}
    assert float(nearest.min()) > 0.0


def test_a_planner_without_a_world_model_says_so() -> None:
    with pytest.raises(RuntimeError, match="consult"):
        make_agent("planner", embedding=SIZE, actions=DEFAULT_ACTIONS).log_probabilities(VIEW, POSE)
