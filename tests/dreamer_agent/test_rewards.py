from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamer_agent.agents import RandomAgent
from dreamer_agent.dreams import Dreams
from dreamer_agent.rewards import RewardMix, RunningScale, SurpriseReward, WeightedReward
from tests.dreamer_agent.worlds import toy_dreams


def some_dreams() -> Dreams:
    return toy_dreams(RandomAgent(21))


class Tilt:
    name = "tilt"

    def signal(self, dreams: Dreams) -> Tensor:
        return dreams.poses[:, 1:, 1]


def test_the_first_batch_sets_the_scale_in_full() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    scale = RunningScale(rate=0.01)
    assert (scale.mean, scale.deviation) == (0.0, 1.0)
    scale.update(values)
    assert scale.mean == pytest.approx(3.0)
    assert scale.deviation == pytest.approx(values.double().std(correction=0).item())
    assert scale.normalise(values).mean().item() == pytest.approx(0.0, abs=1e-6)


def test_running_moments_match_the_weighted_sum_over_history() -> None:
    generator, rate = torch.Generator().manual_seed(1), 0.1
    batches = [torch.randn(16, generator=generator).double() * k + k for k in range(1, 30)]
    scale = RunningScale(rate)
    for batch in batches:
        scale.update(batch)
    weights = [rate * (1.0 - rate) ** (len(batches) - 1 - k) for k in range(len(batches))]
    mean = sum(w * b.mean().item() for w, b in zip(weights, batches, strict=True)) / sum(weights)
    square = sum(w * b.square().mean().item() for w, b in zip(weights, batches, strict=True)) / sum(weights)
    assert scale.mean == pytest.approx(mean)
    assert scale.deviation == pytest.approx(math.sqrt(square - mean**2))


def test_the_scale_survives_a_checkpoint_and_ignores_what_is_not_finite() -> None:
    scale = RunningScale()
    scale.update(torch.tensor([1.0, 5.0]))
    again = RunningScale()
    again.load_state(scale.state())
    again.update(torch.tensor([math.nan, 1.0]))
    again.update(torch.empty(0))
    assert (again.mean, again.deviation) == (scale.mean, scale.deviation)
    with pytest.raises(ValueError, match="three finite"):
        again.load_state(torch.tensor([0.0, math.inf, 1.0]))


def test_a_constant_reward_is_not_blown_up() -> None:
    scale = RunningScale()
    scale.update(torch.full((10,), 3.0))
    assert scale.normalise(torch.full((10,), 3.0)).abs().max().item() == pytest.approx(0.0, abs=1e-3)


def test_surprise_that_shrinks_everywhere_alike_shifts_the_reward_alike() -> None:
    dreams = replace(some_dreams(), rewards=torch.tensor([[10.0, 1.0], [0.1, 5.0]]))
    shrunk = replace(dreams, rewards=dreams.rewards * 0.5)
    reward = SurpriseReward()
    shift = reward.signal(dreams) - reward.signal(shrunk)
    assert shift.flatten().tolist() == pytest.approx([math.log(2.0)] * 4, abs=1e-3)
    assert bool(torch.isfinite(reward.signal(replace(dreams, rewards=torch.zeros(2, 2)))).all())


def test_weights_count_after_each_reward_was_brought_to_unit_deviation() -> None:
    dreams = some_dreams()
    mix = RewardMix([WeightedReward(SurpriseReward(), 1.0), WeightedReward(Tilt(), 3.0)])
    total, terms = mix.combine(dreams)
    surprise, tilt = torch.log(dreams.rewards + 0.01 * dreams.rewards.mean()), dreams.poses[:, 1:, 1]
    expected = sum(
        weight * (signal - signal.mean()) / signal.std(correction=0)
        for weight, signal in ((1.0, surprise), (3.0, tilt))
    )
    assert torch.allclose(total, torch.as_tensor(expected), atol=1e-4)
    assert terms["reward_tilt_share"] > terms["reward_surprise_share"] > 0.0
    assert terms["reward_tilt_share"] + terms["reward_surprise_share"] == pytest.approx(1.0)


def test_a_mix_survives_a_checkpoint_and_takes_new_rewards() -> None:
    dreams = some_dreams()
    mix = RewardMix([WeightedReward(SurpriseReward())])
    mix.combine(dreams)
    wider = RewardMix([WeightedReward(SurpriseReward()), WeightedReward(Tilt())])
    wider.load_state(mix.state())
    assert wider.state()["surprise"].tolist() == mix.state()["surprise"].tolist()
    with pytest.raises(ValueError, match="share a name"):
        RewardMix([WeightedReward(Tilt()), WeightedReward(Tilt())])
    with pytest.raises(ValueError, match="needs a reward"):
        RewardMix([])
