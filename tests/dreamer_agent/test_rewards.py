from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dreamer_agent.agents import RandomAgent
from dreamer_agent.dreams import Dreams
from dreamer_agent.rewards import (
    REWARDS,
    LinearScorer,
    NoveltyReward,
    PTZJEPAReward,
    RewardMix,
    RunningScale,
    Seen,
    SlewReward,
    StalenessReward,
    SurpriseReward,
    WeightedReward,
    make_rewards,
)
from shared.errors import UserError
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


def at(poses: list[list[tuple[float, float, float]]], **changes: Any) -> Dreams:
    """Return dreams that go through these poses; what else is in them is all the same."""
    where = torch.tensor(poses)
    count, steps = where.shape[:2]
    fields = {
        "embeddings": torch.zeros(count, steps, 4, dtype=torch.float16),
        "poses": where,
        "actions": torch.zeros(count, steps - 1, dtype=torch.int64),
        "log_probs": torch.zeros(count, steps - 1),
        "rewards": torch.ones(count, steps - 1),
    }
    return Dreams(**(fields | changes))


@pytest.mark.parametrize("name", [name for name in REWARDS if name not in {"staleness", "extrinsic"}])
def test_every_name_makes_a_reward_of_that_name(name: str) -> None:
    total, terms = make_rewards({name: 2.0}).combine(some_dreams())
    assert total.shape == (32, 10)
    assert bool(torch.isfinite(total).all())
    assert terms[f"reward_{name}_share"] in {0.0, 1.0}


def test_names_and_weights_that_cannot_be_are_refused_with_the_reason() -> None:
    for weights, reason in (
        ({}, "no rewards: choose some of surprise"),
        ({"joy": 1.0}, "no reward 'joy'"),
        ({"error": math.nan}, "finite"),
        ({"error": 0.0}, "other than zero"),
        ({"extrinsic": 1.0}, "PTZ_EXTRINSIC"),
    ):
        with pytest.raises(ValueError, match=reason):
            make_rewards(weights)


def test_a_reward_refuses_dreams_with_another_kind_of_surprise_and_says_what_to_do() -> None:
    dreams = replace(some_dreams(), surprise="error")
    for name in ("disagreement", "progress", "gradient_sign"):
        with pytest.raises(ValueError, match=f"'{name}'.*PTZ_SURPRISE={name.split('_')[0]}"):
            make_rewards({name: 1.0}).combine(dreams)
    make_rewards({"error": 1.0, "surprise": 1.0}).combine(dreams)
    make_rewards({"disagreement": 1.0}).combine(replace(dreams, surprise=""))


def test_ptzjepas_rewards_are_the_value_its_change_and_the_sign_of_that() -> None:
    dreams = replace(some_dreams(), rewards=torch.tensor([[3.0, 3.0, 5.0, 4.0], [0.5, 0.7, 0.7, 0.9]]))
    assert torch.equal(PTZJEPAReward("raw").signal(dreams), dreams.rewards)
    delta = PTZJEPAReward("delta").signal(dreams)
    assert delta.flatten().tolist() == pytest.approx([3.0, 0.0, 2.0, -1.0, 0.5, 0.2, 0.0, 0.2])
    assert PTZJEPAReward("sign").signal(dreams).tolist() == [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, 1.0]]


def test_plans_are_weighed_without_moving_the_scales() -> None:
    mix = make_rewards({"surprise": 1.0})
    mix.combine(some_dreams())
    before = mix.state()["surprise"]
    mix.combine(replace(some_dreams(), rewards=torch.full((32, 10), 9.0)), learn=False)
    assert torch.equal(mix.state()["surprise"], before)


# --- novelty -----------------------------------------------------------------------------------------------------


def test_what_lies_far_from_all_views_is_novel() -> None:
    embeddings = torch.zeros(6, 3, 4, dtype=torch.float16)
    embeddings[:, 0] = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).half()
    embeddings[:, 1] = embeddings[:, 0]
    embeddings[:, 2] = embeddings[:, 0] + 30.0
    poses = [[(float(row), 0.0, 1.0)] * 3 for row in range(6)]
    signal = NoveltyReward(neighbours=2).signal(at(poses, embeddings=embeddings))
    assert bool((signal[:, 1] > signal[:, 0] + 1.0).all())


def test_novelty_is_the_distance_to_the_nearest_neighbours() -> None:
    reward, dreams = NoveltyReward(neighbours=3), some_dreams()
    views, imagined = dreams.embeddings[:, 0].float(), dreams.embeddings[:, 1:].float()
    mean = torch.stack(
        [torch.stack([(views - each).norm(dim=1).sort().values[:3].mean() for each in row]) for row in imagined]
    )
    assert torch.allclose(reward.signal(dreams), torch.log(mean + 0.01 * mean.mean()), atol=1e-4)


def test_the_memory_of_views_is_bounded_and_forgets_another_world_models() -> None:
    reward = NoveltyReward(memory=40)
    for seed in range(4):
        reward.signal(toy_dreams(RandomAgent(21), seed=seed))
    assert len(reward._views) == 40
    reward.signal(toy_dreams(RandomAgent(21), seed=0, count=8, per_start=3, size=5))
    assert reward._views.shape == (8, 5)
    reward.signal(toy_dreams(RandomAgent(21), seed=0, count=8, per_start=3, size=5))
    assert len(reward._views) == 8


# --- staleness ---------------------------------------------------------------------------------------------------


def seen(*looks: tuple[float, float, float, float]) -> Seen:
    """Return a record of looks: seconds, pan, tilt, zoom."""
    record = Seen()
    for seconds, *pose in looks:
        record.note(torch.tensor([pose]), torch.tensor([seconds], dtype=torch.float64))
    return record


def test_what_was_never_seen_is_as_stale_as_the_record_and_what_is_seen_now_is_fresh() -> None:
    record = seen((0.0, 0.0, 0.0, 1.0), (60.0, 120.0, 0.0, 1.0), (80.0, -120.0, 0.0, 1.0))
    dreams = at([[(0.0, 60.0, 1.0), (pan, 0.0, 1.0)] for pan in (0.0, 120.0, -120.0, 60.0)])
    fresh = StalenessReward(record).signal(dreams)[:, 0].tolist()
    assert fresh[0] == pytest.approx(1.0)
    assert fresh[1] == pytest.approx(0.25)
    assert fresh[2] == pytest.approx(0.0)
    assert fresh[3] == pytest.approx(1.0, abs=0.3)


def test_a_dream_is_paid_only_once_for_the_same_place() -> None:
    record = seen((0.0, 0.0, 0.0, 1.0), (10.0, 5.0, 0.0, 1.0))
    away, there = (0.0, 0.0, 1.0), (150.0, 10.0, 1.0)
    signal = StalenessReward(record).signal(at([[away, there, there, away, there]]))[0].tolist()
    assert signal[0] == pytest.approx(1.0)
    assert signal[1:] == pytest.approx([0.0, 0.0, 0.0], abs=0.05)


def test_a_view_shows_less_the_further_it_is_zoomed_in_and_across_the_seam() -> None:
    record = Seen()
    shown = record.shown(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [179.0, 0.0, 1.0], [0.0, 85.0, 1.0]]))
    counts = shown.sum(dim=1).tolist()
    assert counts[0] > 2 * counts[1] > 0
    assert counts[2] == counts[0]
    assert counts[3] > counts[0]


def test_the_order_of_news_does_not_matter_and_time_zero_is_any() -> None:
    looks = [(5.0, 0.0, 0.0, 1.0), (9.0, 90.0, 0.0, 1.0), (7.0, 0.0, 30.0, 2.0), (6.0, 0.0, 0.0, 1.0)]
    one = seen(*looks).ages()
    other = seen(*[(seconds - 1e6, *pose) for seconds, *pose in reversed(looks)]).ages()  # type: ignore[misc]
    assert torch.allclose(one, other)
    assert bool(((one >= 0.0) & (one <= 1.0)).all())
    assert Seen().ages().tolist() == [1.0] * len(one)


def test_a_mix_hands_on_what_was_seen_to_whom_it_concerns() -> None:
    record = Seen()
    mix = make_rewards({"surprise": 1.0, "staleness": 1.0}, seen=record)
    assert mix.remembers
    assert not make_rewards({"surprise": 1.0}).remembers
    mix.saw(torch.tensor([0.0, 0.0, 1.0]), 0.0)
    mix.saw(torch.tensor([90.0, 0.0, 1.0]), 10.0)
    assert 0.0 < float(record.ages().mean()) < 1.0


# --- extrinsic and slew ------------------------------------------------------------------------------------------


def test_an_extrinsic_head_is_read_from_a_file(tmp_path: Path) -> None:
    weight, dreams = torch.arange(8.0), some_dreams()
    path = tmp_path / "head.safetensors"
    save_file({"weight": weight, "bias": torch.tensor([2.0])}, path)
    mix = make_rewards({"extrinsic": 1.0}, scorer=LinearScorer.load(path))
    expected = dreams.embeddings[:, 1:].float() @ weight + 2.0
    total, _ = mix.combine(dreams)
    assert torch.allclose(total, (expected - expected.mean()) / expected.std(correction=0), atol=1e-4)
    with pytest.raises(ValueError, match="reads embeddings of 8 numbers"):
        mix.combine(toy_dreams(RandomAgent(21), size=5))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"bias": torch.zeros(1)}, "must hold 'weight'"),
        ({"weight": torch.zeros(2, 2)}, "of one dimension"),
        ({"weight": torch.zeros(2), "bias": torch.zeros(2)}, "one 'bias'"),
        ({"weight": torch.tensor([math.inf])}, "finite"),
        (None, "not a safetensors file"),
    ],
)
def test_a_head_that_is_none_is_refused_in_one_line(
    tmp_path: Path, tensors: dict[str, Tensor] | None, reason: str
) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"nothing") if tensors is None else save_file(tensors, path)
    with pytest.raises(UserError, match=reason):
        LinearScorer.load(path)
    with pytest.raises(UserError, match="readable"):
        LinearScorer.load(tmp_path / "none")


def test_moving_costs_what_the_way_is_long() -> None:
    dreams = at([[(175.0, 0.0, 1.0), (-175.0, 0.0, 1.0), (-175.0, 0.0, 1.0), (-175.0, 20.0, 1.0)]])
    assert SlewReward().signal(dreams)[0].tolist() == pytest.approx([-1.0, 0.0, -2.0])
