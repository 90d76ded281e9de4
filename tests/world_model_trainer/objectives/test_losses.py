"""Every loss against a closed form, an independent implementation in numpy's float64, or torch-world's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F
from torch_world.losses import SIGReg

from tests.world_model_trainer.objectives.networks import config, rollout
from world_model_trainer.objectives import ObjectiveConfig
from world_model_trainer.objectives.base import Maps
from world_model_trainer.objectives.inverse_dynamics import InverseDynamics
from world_model_trainer.objectives.pose import PoseReading
from world_model_trainer.objectives.prediction import (
    log_error_term,
    prediction_term,
    surprise_term,
    tokens_term,
)
from world_model_trainer.objectives.rssm import balanced_divergence, divergence, gaussian
from world_model_trainer.objectives.sigreg import random_directions, sigreg_term
from world_model_trainer.objectives.simclr import contrast_groups, nt_xent
from world_model_trainer.objectives.vicreg import covariance_term, variance_over_time_term, variance_term

Array = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def smooth_l1(difference: Array) -> Array:
    return np.where(np.abs(difference) < 1.0, 0.5 * difference**2, np.abs(difference) - 0.5)


def test_variance_equals_the_formula_written_out() -> None:
    embeddings = drawn(16, 3, 5) * 0.7
    hinges = np.maximum(0.0, 1.0 - np.sqrt(np.var(embeddings.numpy(), axis=0, ddof=1) + 1e-4))
    assert float(variance_term(embeddings)) == pytest.approx(hinges.mean(), rel=1e-12)


def test_collapse_costs_and_spread_does_not() -> None:
    assert float(variance_term(torch.ones(64, 3, 8))) == pytest.approx(1.0 - math.sqrt(1e-4), abs=1e-4)
    assert float(variance_term(torch.randn(4096, 3, 8) * 2.0)) == 0.0


def test_variance_is_taken_at_each_time_step() -> None:
    # Varies over time, never over the batch: to a pooled statistic it would look spread out.
    over_time = torch.linspace(-5, 5, 7).reshape(1, 7, 1).expand(64, 7, 8)
    assert float(variance_term(over_time)) > 0.98


def test_variance_over_time_is_taken_within_each_trajectory() -> None:
    embeddings = drawn(6, 9, 4) * 0.5
    hinges = [np.maximum(0.0, 1.0 - np.sqrt(np.var(one, axis=0, ddof=1) + 1e-4)).mean() for one in embeddings.numpy()]
    assert float(variance_over_time_term(embeddings)) == pytest.approx(np.mean(hinges), rel=1e-12)
    still = drawn(64, 1, 4).expand(64, 9, 4) * 5.0
    assert float(variance_over_time_term(still)) > 0.98


def test_covariance_equals_the_formula_written_out() -> None:
    embeddings = drawn(32, 2, 5)
    expected = 0.0
    for time in range(2):
        covariance = np.cov(embeddings[:, time].numpy().T)
        expected += sum(covariance[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5 / 2
    assert float(covariance_term(embeddings)) == pytest.approx(expected, rel=1e-10)


def test_redundant_dimensions_cost() -> None:
    independent = torch.randn(512, 1, 8)
    redundant = independent[..., :1].expand(512, 1, 8)
    assert float(covariance_term(redundant)) > 20 * float(covariance_term(independent))


def test_sigreg_equals_the_other_implementation() -> None:
    embeddings = torch.randn(48, 3, 6) * 1.5 + 0.3
    directions = torch.randn(6, 32, generator=torch.Generator().manual_seed(7))
    other = SIGReg(num_slices=32)(embeddings.transpose(0, 1), generator=torch.Generator().manual_seed(7))
    ours = sigreg_term(embeddings, directions / directions.norm(dim=0))
    assert float(ours) == pytest.approx(float(other), rel=1e-5)


def test_sigreg_of_one_point_equals_the_integral() -> None:
    # All samples at 2 on one axis: the empirical characteristic function is exp(2it).
    t = np.linspace(-3.0, 3.0, 20_001)
    weight = np.exp(-(t**2) / 2)
    value = np.trapezoid(((np.cos(2 * t) - weight) ** 2 + np.sin(2 * t) ** 2) * weight, t)
    ours = sigreg_term(torch.full((10, 1, 1), 2.0, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    assert float(ours) == pytest.approx(10 * value, rel=5e-3), "17 knots of the trapezoid rule"


def test_sigreg_is_least_for_a_gaussian_and_its_directions_are_of_length_one() -> None:
    directions = random_directions(8, 64, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(64, dtype=torch.float64))
    gaussian_, flat = drawn(512, 1, 8), torch.ones(512, 1, 8, dtype=torch.float64)
    terms = [float(sigreg_term(each, directions)) for each in (gaussian_, 3.0 * gaussian_, gaussian_ + 1.0, 0.0 * flat)]
    assert 4.0 * terms[0] < min(terms[1:])


def numpy_nt_xent(first: Array, second: Array, groups: Array, temperature: float) -> float:
    states = np.concatenate([first, second])
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    count, losses = len(first), []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        others = [j for j in range(2 * count) if j != i and groups[j % count] == groups[i % count]]
        logits = {j: states[i] @ states[j] / temperature for j in others}
        losses.append(-logits[partner] + math.log(sum(math.exp(logit) for logit in logits.values())))
    return float(np.mean(losses))


@pytest.mark.parametrize("groups", [[0] * 6, [0, 1, 0, 1, 2, 0], list(range(6))])
def test_nt_xent_equals_the_formula_written_out(groups: list[int]) -> None:
    first, second = drawn(6, 4), drawn(6, 4)
    ours = nt_xent(first, second, torch.tensor(groups), 0.3)
    assert float(ours) == pytest.approx(
        numpy_nt_xent(first.numpy(), second.numpy(), np.array(groups, float), 0.3), abs=1e-12
    )


def test_negatives_are_of_the_same_camera_and_time_or_of_the_same_trajectory() -> None:
    made = rollout(torch.randn(3, 3, 4), cameras=torch.tensor([5, 5, 9]))
    batch, trajectory = contrast_groups(made, "batch"), contrast_groups(made, "trajectory")
    assert torch.equal(batch[0], batch[1])
    assert len(batch.unique()) == 4, "two cameras at two steps"
    assert torch.equal(trajectory, torch.tensor([[0, 0], [1, 1], [2, 2]]))


def test_prediction_is_the_mean_of_open_loop_and_pairs() -> None:
    encoded, predicted, pairs = drawn(4, 3, 5), drawn(4, 2, 5), drawn(4, 3, 3, 5)
    open_loop = ((predicted - encoded[:, 1:]).numpy() ** 2).mean()
    assert float(prediction_term(rollout(encoded, predicted))) == pytest.approx(open_loop)
    errors = [((pairs[:, i, j] - encoded[:, j]).numpy() ** 2).mean() for i in range(3) for j in range(3) if i != j]
    both = prediction_term(rollout(encoded, predicted, pairs=pairs))
    assert float(both) == pytest.approx(0.5 * (open_loop + np.mean(errors)))


def test_tokens_are_compared_place_by_place() -> None:
    predicted, seen = drawn(2, 3, 3, 4, 5) * 2.0, drawn(2, 3, 4, 5)
    expected = [
        smooth_l1((predicted[:, i, j] - seen[:, j]).numpy()).mean() for i in range(3) for j in range(3) if i != j
    ]
    assert float(tokens_term(Maps(torch.arange(4), predicted, seen))) == pytest.approx(np.mean(expected))


def test_divergence_is_torchs_kl_of_normals() -> None:
    posterior, prior = drawn(3, 4, 10), drawn(3, 4, 10)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(*gaussian(posterior)), torch.distributions.Normal(*gaussian(prior))
    ).sum(dim=-1)
    torch.testing.assert_close(divergence(posterior, prior), theirs)


def test_free_nats_cost_nothing_and_the_prior_gets_most_of_the_gradient() -> None:
    posterior, prior = drawn(6, 4).requires_grad_(), drawn(6, 4).requires_grad_()
    enough = float(divergence(posterior, prior).detach().mean()) + 1.0
    assert float(balanced_divergence(posterior, prior, enough).detach()) == pytest.approx(enough)
    balanced_divergence(posterior, prior, 0.0).backward()
    balanced = posterior.grad, prior.grad
    posterior.grad = prior.grad = None
    divergence(posterior, prior).mean().backward()
    for part, full, share in zip(balanced, (posterior.grad, prior.grad), (0.2, 0.8), strict=True):
        assert part is not None
        assert full is not None
        torch.testing.assert_close(part, share * full)


def test_inverse_dynamics_equals_the_formula_written_out() -> None:
    idm = InverseDynamics(
        config(embedding_size=8), ObjectiveConfig(name="vicreg+idm", weights={"inverse_dynamics": 2.0})
    )
    encoded, actions = torch.randn(5, 3, 8), torch.randn(5, 2, 3) * 4.0
    first, last = idm.head[0], idm.head[2]
    pairs = np.concatenate([encoded[:, :-1], encoded[:, 1:]], axis=-1).astype(np.float64)
    hidden = pairs @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = hidden / (1.0 + np.exp(-hidden))
    guess = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    scaled = actions.numpy() / np.array([10.0, 10.0, 0.2])
    target = np.concatenate([scaled, np.sign(scaled) * np.log1p(50 * np.abs(scaled)) / math.log(51)], axis=-1)
    ours = idm(rollout(encoded, actions=actions))["inverse_dynamics"].item()
    assert ours == pytest.approx(2.0 * ((guess - target) ** 2).mean(), rel=1e-5)


def test_the_pose_is_read_by_a_linear_head() -> None:
    head = PoseReading(config(embedding_size=8), ObjectiveConfig(name="vicreg+pose"))
    assert isinstance(head.head, torch.nn.Linear)
    encoded, poses = torch.randn(5, 2, 8), torch.rand(5, 2, 3) * torch.tensor([360.0, 60.0, 2.0]) + 1.0
    guess = encoded.double().numpy() @ head.head.weight.detach().double().numpy().T + head.head.bias.detach().numpy()
    pan, tilt, zoom = np.moveaxis(poses.double().numpy(), -1, 0)
    root, waves = np.sqrt(2.0), []
    waves += [root * part(order * np.radians(pan)) for order in (2, 3, 4) for part in (np.sin, np.cos)]
    waves += [root * part(2.0 * order * np.radians(tilt)) for order in (1, 2) for part in (np.sin, np.cos)]
    waves += [root * np.cos(np.pi * order * np.log(zoom) / np.log(3.0)) for order in (2, 3)]
    first = [root * np.sin(np.radians(pan)), root * np.cos(np.radians(pan)), tilt / 26.0, np.log(zoom) / 0.5]
    target = np.stack([*first, *waves], axis=-1)
    ours = head(rollout(encoded, poses=poses))["pose"].item()
    assert ours == pytest.approx(4.0 * ((guess - target) ** 2).mean(), rel=1e-5)


def test_the_pose_term_needs_poses() -> None:
    with pytest.raises(ValueError, match="needs the poses"):
        PoseReading(config(embedding_size=8), ObjectiveConfig())(rollout(torch.randn(5, 2, 8)))


def test_surprise_is_calibrated_without_touching_the_error() -> None:
    error = torch.rand(32, 4, requires_grad=True)
    log_surprise = torch.zeros(32, 4, requires_grad=True)
    log_error_term(log_surprise, error).backward()
    assert error.grad is None
    assert log_surprise.grad is not None
    assert float(log_error_term(torch.log(error.detach() + 1e-6), error)) == 0.0


def test_an_ensembles_members_learn_the_target_from_half_the_samples_each() -> None:
    encoded = torch.randn(64, 3, 4)
    guesses = (encoded[:, 1:].unsqueeze(2) + torch.arange(1.0, 6.0).reshape(1, 1, 5, 1)).requires_grad_()
    term = surprise_term(rollout(encoded, guesses=guesses))
    assert term.item() == pytest.approx(11.0, rel=0.1), "the mean of 1, 4, 9, 16 and 25"
    term.backward()
    assert guesses.grad is not None
    taught = (guesses.grad.abs().sum(dim=-1) > 0).float().mean(dim=(0, 1))
    assert bool(((taught > 0.3) & (taught < 0.7)).all())


def test_unrest_is_learnt_where_nobody_moved_and_nowhere_else() -> None:
    encoded = torch.randn(6, 3, 4)
    actions = torch.randn(6, 2, 3)
    actions[1, 0] = actions[4, 1] = 0.0
    unrest = torch.zeros(6, 2, requires_grad=True)
    guesses = encoded[:, 1:].unsqueeze(2).expand(-1, -1, 5, -1)
    term = surprise_term(rollout(encoded, guesses=guesses, unrest=unrest, actions=actions))
    changes = [(encoded[1, 1] - encoded[1, 0]).square().mean(), (encoded[4, 2] - encoded[4, 1]).square().mean()]
    expected = sum(F.smooth_l1_loss(torch.zeros(()), torch.log(change + 1e-6)) for change in changes) / 2
    torch.testing.assert_close(term, expected)
    term.backward()
    assert unrest.grad is not None
    assert torch.nonzero(unrest.grad).tolist() == [[1, 0], [4, 1]]
    moving = surprise_term(rollout(encoded, guesses=guesses, unrest=unrest, actions=torch.ones(6, 2, 3)))
    assert moving.item() == 0.0, "who never stands still learns nothing of it"


def test_measured_gradients_teach_the_head_where_there_are_any() -> None:
    magnitudes = torch.full((4, 2), float("nan"))
    magnitudes[1, 0], magnitudes[3, 0] = 1e-4, 1e-3
    made = rollout(torch.randn(4, 3, 5), magnitudes=magnitudes)
    expected = (math.log(1e-4) ** 2 + math.log(1e-3) ** 2) / 2
    assert float(surprise_term(made)) == pytest.approx(expected, rel=1e-4)
