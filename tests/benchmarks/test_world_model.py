"""PTZJEPA's step as the benchmark has it, and the benchmark's own arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from benchmarks import ptzjepa_step
from benchmarks.probe_race import LEAST_MICRO_STEPS, QUANTITIES, Race, smaller
from benchmarks.ptzjepa_step import LITERAL, Encoder, Predictor, PtzjepaStep, Thrift, count
from benchmarks.world_model import Times, ratios
from benchmarks.world_model_sides import AS_THEIRS_FLOAT32, BF16, FLOAT32, PTZJEPA, PTZJEPA_ONE_QUERY, Side, ours
from shared.world_model import WorldModelConfig

THRIFTS = (LITERAL, Thrift(one_query=True), Thrift(once=True), Thrift(one_query=True, once=True))


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have networks of two blocks: enough to compare arithmetic."""
    with monkeypatch.context() as patch:
        patch.setattr(ptzjepa_step, "DEPTH", 2)
        yield


def test_the_networks_are_of_the_stated_size() -> None:
    encoder, predictor = Encoder(), Predictor()
    assert count(encoder) == 5_451_840
    assert count(predictor) == 21_445_825
    assert sum(each.numel() for each in encoder.state_dict().values()) == 5_500_992, "with the table of positions"
    assert sum(each.numel() for each in predictor.state_dict().values()) == 21_544_129


def test_ours_is_of_the_same_size() -> None:
    config = WorldModelConfig.from_preset("ptzjepa")
    assert config.image_size == ptzjepa_step.SIDE
    assert config.patch_size == ptzjepa_step.PATCH
    assert (config.encoder_width, config.encoder_depth) == (ptzjepa_step.WIDTH, ptzjepa_step.DEPTH)
    assert (config.hidden_size, config.blocks) == (ptzjepa_step.PREDICTOR_WIDTH, ptzjepa_step.DEPTH)


@pytest.mark.usefixtures("shallow")
def test_thrift_changes_no_result() -> None:
    images, positions = torch.rand(2, 3, 224, 224), torch.rand(2, 3) * 60.0
    found, gradients = [], []
    for thrift in THRIFTS:
        torch.manual_seed(1)
        step = PtzjepaStep(thrift)
        with torch.no_grad():  # weights that were just drawn answer alike whatever they are asked
            for weight in step.predictor.parameters():
                weight *= 5.0
        step.done = 1  # between two steps of the optimiser, so that gradients stay
        found.append(step.micro_step(images, positions))
        gradients.append(
            torch.cat([each.grad.flatten() for each in step.encoder.parameters() if each.grad is not None])
        )
    for losses, gradient in zip(found, gradients, strict=True):
        assert losses.tokens == pytest.approx(found[0].tokens, rel=1e-4)
        assert losses.reward == pytest.approx(found[0].reward, rel=1e-4)
        assert losses.gradient == pytest.approx(found[0].gradient, rel=1e-3)
        torch.testing.assert_close(gradient, gradients[0], atol=1e-3 * float(gradients[0].abs().max()), rtol=1e-2)


@pytest.mark.usefixtures("shallow")
def test_its_256_answers_are_equal() -> None:
    torch.manual_seed(0)
    tokens, reward = Predictor()(torch.randn(2, 256, 192), torch.rand(2, 3), torch.rand(2, 3), one_query=False)
    assert tokens.shape == (2, 256, 192)
    assert reward.shape == (2, 256, 1)
    torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens))


@pytest.mark.usefixtures("shallow")
def test_the_target_follows_every_micro_step_and_the_optimiser_every_eighth() -> None:
    torch.manual_seed(0)
    step = PtzjepaStep(THRIFTS[-1])
    images, positions = torch.rand(2, 3, 224, 224), torch.rand(2, 3)
    weights = [next(step.encoder.parameters()).detach().clone()]
    targets = [next(step.target.parameters()).detach().clone()]
    for _ in range(3):
        step.micro_step(images, positions)
        weights.append(next(step.encoder.parameters()).detach().clone())
        targets.append(next(step.target.parameters()).detach().clone())
    assert not torch.equal(weights[0], weights[1]), "the first micro-step is an eighth one"
    assert torch.equal(weights[1], weights[3])
    torch.testing.assert_close(targets[1], 0.8 * targets[0] + 0.2 * weights[1])
    assert not torch.equal(targets[1], targets[2])


def test_the_schedules_begin_and_end_as_stated() -> None:
    step = PtzjepaStep(micro_steps_per_epoch=1)
    matrices, vectors = step.optimizer.param_groups
    for done, rate, decay in ((0, 2e-6, 0.04), (5, 1e-4, None), (100, 1e-6, 0.4)):
        step.done = done
        step._schedule()
        assert matrices["lr"] == vectors["lr"] == pytest.approx(rate)
        assert decay is None or matrices["weight_decay"] == pytest.approx(decay)
        assert vectors["weight_decay"] == 0.0


def test_pairs_are_counted_where_something_is_learnt() -> None:
    side = ours("ema+idm+pose", 1)
    assert (side.images, side.pairs) == (4, 12), "of a view and itself nothing is learnt"


def test_ratios_are_of_pairs_and_images_by_median_cpu_time() -> None:
    def times(images: int, pairs: int, *seconds: float) -> Times:
        return Times(Side(lambda: None, images, pairs), cpu=list(seconds), wall=list(seconds))

    all_times = {
        PTZJEPA: times(4, 16, 20.0, 8.0, 16.0),
        PTZJEPA_ONE_QUERY: times(4, 16, 8.0),
        FLOAT32: times(16, 48, 12.0),
        BF16: times(16, 48, 6.0),
        AS_THEIRS_FLOAT32: times(4, 12, 4.0),
    }
    found = ratios(all_times)
    assert found[f"{FLOAT32} ÷ {PTZJEPA}"] == pytest.approx({"pairs": 4.0, "images": 16.0 / 3.0})
    assert found[f"{BF16} ÷ {PTZJEPA_ONE_QUERY}"]["pairs"] == pytest.approx(4.0)
    assert found[f"{AS_THEIRS_FLOAT32} ÷ {PTZJEPA}"]["pairs"] == pytest.approx(3.0)
    assert len(found) == 6, "a side that was not measured has no ratio"


def test_steps_are_timed() -> None:
    times = Times(Side(lambda: sum(range(10_000)), 1, 1))
    times.take(3)
    assert len(times.cpu) == len(times.wall) == 3
    assert times.cpu_seconds >= 0.0


def test_tiny_wins_when_it_is_better_in_everything_at_once() -> None:
    def found(*values: float) -> dict[str, float]:
        return dict(zip(QUANTITIES, values, strict=True))

    race = Race(20.0, 10, theirs=[(0, found(0.1, 0.5, 0.0)), (10, found(0.3, 0.4, -0.1))])
    assert race.best == found(0.3, 0.5, 0.0)
    race.ours.append((2.0, found(0.4, 0.45, 0.1)))
    assert math.isinf(race.passed_after)
    race.ours.append((4.0, found(0.4, 0.6, 0.1)))
    assert race.passed_after == 4.0
    assert race.share_of_run == pytest.approx(4.0 / 200.0)
    assert race.share_of_least == pytest.approx(4.0 / (LEAST_MICRO_STEPS * 20.0))
    assert [row.value for row in race.rows()][-2:] == [race.share_of_run, race.share_of_least]


def test_smaller_views_are_means() -> None:
    images = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4).expand(60, 3, 4, 4)
    assert smaller(images, 2).shape == (60, 3, 2, 2)
    assert smaller(images, 2)[59, 0].tolist() == [[2, 4], [10, 12]]
