from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchrl.modules.models.model_based import two_hot_decode, two_hot_encode
from torchrl.objectives.value.functional import generalized_advantage_estimate, td_lambda_return_estimate

from dreamer_agent.agents.returns import (
    ReturnScale,
    TwoHot,
    advantages,
    lambda_returns,
    n_step_targets,
    symexp,
    symlog,
)

shares = st.floats(0.0, 1.0)
lengths = st.integers(1, 12)


def some(length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return rewards ``[3, T]`` and values ``[3, T+1]``."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, length, generator=generator, dtype=torch.float64)
    return rewards, torch.randn(3, length + 1, generator=generator, dtype=torch.float64)


def theirs(rewards: Tensor, values: Tensor) -> dict[str, Tensor]:
    """As torchrl wants it: a last dimension of one, and no episode that ends."""
    over = torch.zeros(*rewards.shape, 1, dtype=torch.bool)
    named = {"next_state_value": values[:, 1:], "reward": rewards}
    return {**{name: value.unsqueeze(-1) for name, value in named.items()}, "done": over, "terminated": over}


@settings(max_examples=40, deadline=None)
@given(lengths, st.integers(0, 1000), shares, shares)
def test_lambda_returns_are_those_of_torchrl(length: int, seed: int, discount: float, mixing: float) -> None:
    rewards, values = some(length, seed)
    found = lambda_returns(rewards, values, discount=discount, mixing=mixing)
    expected = td_lambda_return_estimate(discount, mixing, **theirs(rewards, values)).squeeze(-1)
    assert torch.allclose(found, expected, rtol=0.0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(lengths, st.integers(0, 1000), shares, shares)
def test_advantages_are_those_of_torchrl(length: int, seed: int, discount: float, mixing: float) -> None:
    rewards, values = some(length, seed)
    found = advantages(rewards, values, discount=discount, mixing=mixing)
    state_value = values[:, :-1].unsqueeze(-1)
    expected, _ = generalized_advantage_estimate(discount, mixing, state_value, **theirs(rewards, values))
    assert torch.allclose(found, expected.squeeze(-1), rtol=0.0, atol=1e-6)
    # And they are the λ-returns, less the values.
    assert torch.allclose(found, lambda_returns(rewards, values, discount=discount, mixing=mixing) - values[:, :-1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1000.0, 1000.0), min_size=1, max_size=20), st.integers(0, 1000))
def test_two_hot_values_are_those_of_torchrl(values: list[float], seed: int) -> None:
    two_hot = TwoHot(63, 6.0)
    two_hot.bins = two_hot.bins.double()
    wanted = torch.tensor(values, dtype=torch.float64)
    assert torch.allclose(two_hot.encode(wanted), two_hot_encode(wanted, two_hot.bins), rtol=0.0, atol=1e-6)
    logits = torch.randn(5, 63, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.allclose(two_hot.mean(logits), two_hot_decode(logits, two_hot.bins), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_n_step_targets_are_summed_by_hand(steps: int) -> None:
    rewards, values = some(5, seed=1)
    found = n_step_targets(rewards, values, discount=0.9, steps=steps)
    for first in range(5):
        last = min(first + steps, 5)
        expected = sum(0.9 ** (k - first) * rewards[0, k] for k in range(first, last))
        expected = expected + 0.9 ** (last - first) * values[0, last]
        assert found[0, first].item() == pytest.approx(float(expected))


def weighted_n_step(rewards: list[float], values: list[float], discount: float, mixing: float, start: int) -> float:
    """The definition: a geometric mixture of n-step returns, the longest of which takes all that is left."""
    longest = len(rewards) - start

    def n_step(n: int) -> float:
        gained = sum(discount**k * rewards[start + k] for k in range(n))
        return gained + discount**n * values[start + n]

    mixture = sum((1.0 - mixing) * mixing ** (n - 1) * n_step(n) for n in range(1, longest))
    return mixture + mixing ** (longest - 1) * n_step(longest)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("length", [1, 2, 10])
def test_lambda_returns_are_the_mixture_of_n_step_returns(mixing: float, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    rewards = torch.randn(3, length, generator=generator, dtype=torch.float64)
    values = torch.randn(3, length + 1, generator=generator, dtype=torch.float64)
    found = lambda_returns(rewards, values, discount=0.97, mixing=mixing)
    for row in range(3):
        for step in range(length):
            expected = weighted_n_step(rewards[row].tolist(), values[row].tolist(), 0.97, mixing, step)
            assert found[row, step].item() == pytest.approx(expected, abs=1e-12)


def test_a_constant_reward_has_the_closed_form() -> None:
    discount = 0.9
    forever = 2.0 / (1.0 - discount)
    found = lambda_returns(torch.full((1, 7), 2.0), torch.full((1, 8), forever), discount=discount, mixing=0.95)
    assert found[0].tolist() == pytest.approx([forever] * 7, rel=1e-6)


def test_symlog_and_symexp_undo_each_other() -> None:
    values = torch.tensor([-1000.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 1000.0])
    assert symexp(symlog(values)).tolist() == pytest.approx(values.tolist(), rel=1e-5, abs=1e-9)
    assert symlog(torch.tensor(-(torch.e - 1.0))).item() == pytest.approx(-1.0)


def test_two_hot_keeps_the_value_as_its_mean_on_two_neighbours() -> None:
    two_hot = TwoHot(63, 6.0)
    values = torch.tensor([[0.0, 0.3, -7.7], [123.4, -400.0, 1e-3]])
    weights = two_hot.encode(values)
    assert weights.shape == (2, 3, 63)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3))
    assert bool(((weights > 0).sum(-1) <= 2).all())
    assert torch.allclose((weights * two_hot.bins).sum(-1), values, rtol=1e-5, atol=1e-6)


def test_two_hot_matches_a_loop_over_bins() -> None:
    two_hot = TwoHot(31, 4.0)
    bins = two_hot.bins.tolist()
    for value in torch.linspace(bins[0] - 5.0, bins[-1] + 5.0, 201).tolist():
        clipped = min(max(value, bins[0]), bins[-1])
        expected = [0.0] * len(bins)
        for low in range(len(bins) - 1):
            if bins[low] <= clipped <= bins[low + 1]:
                share = (clipped - bins[low]) / (bins[low + 1] - bins[low])
                expected = [0.0] * len(bins)
                expected[low], expected[low + 1] = 1.0 - share, share
                break
        assert two_hot.encode(torch.tensor(value)).tolist() == pytest.approx(expected, abs=1e-4)


def test_equal_weights_mean_exactly_zero() -> None:
    two_hot = TwoHot(63, 6.0)
    assert two_hot.mean(torch.zeros(5, 63)).tolist() == [0.0] * 5
    logits = torch.randn(4, 63, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (logits.softmax(-1) * two_hot.bins.double()).sum(-1)
    assert two_hot.mean(logits).tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("bins", [1, 4])
def test_bins_without_a_middle_are_refused(bins: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        TwoHot(bins, 3.0)


def test_the_return_scale_follows_percentiles_and_never_falls_below_one() -> None:
    scale = ReturnScale(rate=0.5)
    assert scale.update(torch.linspace(0.0, 0.1, 101)) == 1.0
    scale = ReturnScale(rate=0.5)
    assert scale.update(torch.linspace(0.0, 100.0, 101)) == pytest.approx(90.0)
    assert scale.update(torch.linspace(0.0, 10.0, 101)) == pytest.approx(90.0 + 0.5 * (9.0 - 90.0))
    before = scale.state()
    scale.update(torch.tensor([1.0, float("nan")]))
    assert torch.equal(scale.state(), before)
    again = ReturnScale(rate=0.5)
    again.load_state(scale.state())
    assert again.update(torch.linspace(0.0, 10.0, 101)) == pytest.approx(scale.update(torch.linspace(0.0, 10.0, 101)))
    fresh = ReturnScale(rate=0.5)
    fresh.load_state(ReturnScale(rate=0.5).state())
    assert fresh.update(torch.linspace(0.0, 100.0, 101)) == pytest.approx(90.0)
