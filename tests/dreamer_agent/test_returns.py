from __future__ import annotations

import pytest
import torch

from dreamer_agent.agents.returns import ReturnScale, TwoHot, lambda_returns, symexp, symlog


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
