from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dreamer_agent.agents import ActorCritic, ActorCriticConfig, RandomAgent
from dreamer_agent.dreams import Dreams
from shared.actions import DEFAULT_ACTIONS
from shared.pose import Pose, PoseLimits
from shared.world_model import load_tensors, save_tensors
from tests.dreamer_agent.worlds import SIZE, ToyWorld, origin, toy_dreams

TIGHT = PoseLimits(pan_min=-20.0, pan_max=20.0, tilt_min=-5.0, tilt_max=5.0, zoom_max=1.1)


def test_every_dreamed_pose_follows_from_the_one_before() -> None:
    dreams = toy_dreams(RandomAgent(21), limits=TIGHT, length=30)
    for poses, moves in zip(dreams.poses.tolist(), dreams.actions.tolist(), strict=True):
        for before, move, after in zip(poses, moves, poses[1:], strict=False):
            pose = Pose(pan=before[0], tilt=before[1], zoom=before[2])
            expected = DEFAULT_ACTIONS[move].apply(pose, TIGHT)
            assert after == pytest.approx(list(expected.as_tuple()), abs=1e-4)


def test_rewards_are_what_the_world_model_expects_of_the_very_move() -> None:
    dreams = toy_dreams(RandomAgent(21), ToyWorld(exciting=4, much=2.0, little=0.25), count=64)
    assert bool((dreams.actions == 4).any())
    assert torch.equal(dreams.rewards, torch.where(dreams.actions == 4, 2.0, 0.25))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_recorded_probabilities_are_those_of_the_mixture(share: float) -> None:
    agent = ActorCritic(ActorCriticConfig(embedding_size=SIZE, actions=21))
    for _ in range(5):
        agent.update(toy_dreams(agent))
    dreams = toy_dreams(agent, random_share=share, seed=5)
    with torch.no_grad():
        own = agent.log_probabilities(dreams.embeddings[:, :-1].float(), dreams.poses[:, :-1]).exp()
    chosen = own.gather(-1, dreams.actions.unsqueeze(-1)).squeeze(-1)
    expected = (1.0 - share) * chosen + share / 21.0
    assert torch.allclose(dreams.log_probs.exp(), expected, rtol=1e-5, atol=1e-7)


def test_the_same_seed_dreams_the_same() -> None:
    first, second, other = (toy_dreams(RandomAgent(21), seed=seed) for seed in (3, 3, 4))
    assert first.to_bytes(origin()) == second.to_bytes(origin())
    assert not torch.equal(first.actions, other.actions)


def test_a_file_gives_back_the_dreams_and_their_origin_in_at_most_4_kb_per_dream() -> None:
    dreams = toy_dreams(RandomAgent(21), size=128, count=64)
    data = dreams.to_bytes(origin(policy_version=7))
    assert len(data) / 64 <= 4096
    again, said = Dreams.from_bytes(data)
    assert said == origin(policy_version=7)
    for name in ("embeddings", "poses", "actions", "log_probs", "rewards"):
        assert torch.equal(getattr(again, name), getattr(dreams, name))


def test_dreams_can_be_picked_and_joined() -> None:
    dreams = toy_dreams(RandomAgent(21))
    parts = Dreams.join([dreams.pick(torch.tensor([4, 2])), dreams.pick(torch.tensor([0]))])
    assert len(parts) == 3
    assert torch.equal(parts.poses, dreams.poses[[4, 2, 0]])


def broken(change: str) -> Dreams:
    dreams = toy_dreams(RandomAgent(21))
    match change:
        case "NaN":
            rewards = dreams.rewards.clone()
            rewards[3, 3] = math.nan
            return replace(dreams, rewards=rewards)
        case "type":
            return replace(dreams, embeddings=dreams.embeddings.float())
        case "shape":
            return replace(dreams, poses=dreams.poses[:, 1:])
        case "negative":
            return replace(dreams, actions=dreams.actions - 30)
        case "empty":
            return dreams.pick(torch.empty(0, dtype=torch.int64))
        case _:
            return replace(dreams, embeddings=dreams.embeddings[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("NaN", "rewards: not all numbers are finite"),
        ("type", "embeddings: .*float32"),
        ("shape", "poses: "),
        ("negative", "below zero"),
        ("empty", "no dreams"),
        ("dimensions", "not \\[B, T\\+1, D\\]"),
    ],
)
def test_bad_dreams_are_refused_with_the_reason(change: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Dreams.from_bytes(broken(change).to_bytes(origin()))


def test_files_that_are_no_dreams_are_refused_with_the_reason() -> None:
    good = toy_dreams(RandomAgent(21)).to_bytes(origin())
    with pytest.raises(ValueError, match="safetensors"):
        Dreams.from_bytes(good[:100])
    tensors, card = load_tensors(good)
    with pytest.raises(ValueError, match="in the format 'x'"):
        Dreams.from_bytes(save_tensors(tensors, {**card, "format": "x"}))
    with pytest.raises(ValueError, match="not a file of dreams"):
        Dreams.from_bytes(save_tensors(tensors, {}))
    tensors.pop("rewards")
    with pytest.raises(ValueError, match="rewards"):
        Dreams.from_bytes(save_tensors(tensors, card))


def test_a_world_model_that_says_nan_does_not_get_into_a_dream() -> None:
    with pytest.raises(ValueError, match="not all numbers are finite"):
        toy_dreams(RandomAgent(21), ToyWorld(exciting=4, little=math.inf))
