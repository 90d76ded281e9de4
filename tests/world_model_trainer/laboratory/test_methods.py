"""Methods by name: their terms, what learns by them, and the optimiser of the study."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from world_model_trainer.laboratory.moving_dots.data import DotsConfig, MovingDots
from world_model_trainer.laboratory.moving_dots.lars import Lars
from world_model_trainer.laboratory.moving_dots.methods import METHODS, Laboratory, build, parameters
from world_model_trainer.laboratory.moving_dots.networks import DotsModel, NetworkConfig, as_trajectories, frames_of
from world_model_trainer.laboratory.moving_dots.training import (
    DivergedError,
    LearningConfig,
    overlaid,
    rate_share,
    train,
)
from world_model_trainer.objectives.base import Rollout, roll_out

SMALL = NetworkConfig(embedding_size=16)
TERMS = {
    "vicreg": {"prediction", "variance", "covariance"},
    "vicreg+idm": {"prediction", "variance", "covariance", "inverse_dynamics"},
    "sigreg": {"prediction", "sigreg"},
    "sigreg+idm": {"prediction", "sigreg", "inverse_dynamics"},
    "vicreg-trajectory": {"prediction", "variance", "covariance"},
    "vicreg-trajectory+idm": {"prediction", "variance", "covariance", "inverse_dynamics"},
    "sigreg-trajectory": {"prediction", "sigreg"},
    "ema": {"prediction"},
    "ema+idm": {"prediction", "inverse_dynamics"},
    "simclr": {"prediction", "contrast"},
    "simclr-trajectory": {"prediction", "contrast"},
    "idm": {"inverse_dynamics"},
    "rssm": {"reconstruction", "divergence"},
    "supervised": {"location"},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def step(name: str, pairs: int | None = 2) -> tuple[DotsModel, Laboratory, dict[str, torch.Tensor]]:
    """Return a model and its objective after one pass forth and back."""
    model, objective = build(name, SMALL)
    batch = as_trajectories(MovingDots(DotsConfig(static_noise=1.0), 0).draw(8, pairs))
    terms = objective(objective.roll_out(model, batch))
    if terms:
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
    return model, objective, terms


@pytest.mark.parametrize("name", TERMS)
def test_a_method_has_its_terms_and_teaches_encoder_and_predictor(name: str) -> None:
    model, objective, terms = step(name, None if METHODS[name].every_frame else 2)
    assert terms.keys() == TERMS[name]
    assert all(float(term.detach()) > 0.0 for term in terms.values())
    idle = [key for key, weight in model.named_parameters() if weight.grad is None or not bool(weight.grad.any())]
    assert idle == []
    assert {id(weight) for weight in model.parameters()} <= {id(weight) for weight in parameters(model, objective)}


@pytest.mark.parametrize(("name", "lowest", "highest"), [("vicreg", 0.0, 0.1), ("vicreg-trajectory", 0.9, 1.0)])
def test_a_code_of_the_background_earns_nothing_within_a_trajectory(name: str, lowest: float, highest: float) -> None:
    """Across trajectories it has all the variance that is asked for, and prediction is perfect."""
    _, objective = build(name, SMALL, weights={"variance": 1.0})
    drawn = MovingDots(DotsConfig(static_noise=1.0), 0).draw(400, 2)
    batch = as_trajectories(drawn, apart=METHODS[name].within)
    code = 1.1 * torch.randn(400, 1, 16).expand(-1, 5, -1)
    rollout = Rollout(code, code[:, 1:], code[:, 1:, 0], batch.actions, batch.poses, batch.cameras)
    terms = objective(rollout)
    assert float(terms["prediction"]) == 0.0
    assert lowest <= float(terms["variance"]) <= highest


def test_pictures_are_overlaid_with_others_each_by_its_own_weight() -> None:
    states = torch.eye(60).view(12, 5, 1, 60, 1)
    made = overlaid(states, 0.5).view(60, 60)
    others = made - torch.eye(60)
    assert bool((others >= 0.0).all())
    weights = others.sum(dim=1)
    assert 0.0 < float(weights.min()) < 0.1
    assert 0.4 < float(weights.max()) <= 0.5
    assert float(weights.mean()) == pytest.approx(0.25, abs=0.06)
    assert bool(((others > 0.0).sum(dim=1) == 1).all()), "one other each"
    assert bool(((others > 0.0).sum(dim=0) == 1).all()), "each laid over one"


def test_every_method_is_tested_and_random_does_not_learn() -> None:
    assert {*TERMS, "random"} == set(METHODS)
    model, objective = build("random", SMALL)
    before = [weight.clone() for weight in model.parameters()]
    train(model, objective, MovingDots(DotsConfig(), 0), LearningConfig(steps=3, batch=4))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_an_unknown_method_or_term_is_told_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="no method 'vicrag': there are vicreg, sigreg"):
        build("vicrag", SMALL)
    with pytest.raises(ValueError, match="has no term 'sigreg'"):
        build("vicreg", SMALL, weights={"sigreg": 1.0})


def test_networks_are_the_studys() -> None:
    best = DotsModel(NetworkConfig(embedding_size=512, width=2))
    # Those of the study's best configuration, less its linear layer for inverse dynamics.
    assert sum(weight.numel() for weight in best.parameters()) == 1_179_394 - (2 * 512 * 2 + 2)
    encoder = sum(weight.numel() for weight in best.encoder.parameters())
    stages = (25 * 32 + 32) + (25 * 32 * 64 + 64) + (9 * 64 * 64 + 64) + 2 * (32 + 64 + 64)
    assert encoder == stages + 576 * 512 + 512
    assert sum(weight.numel() for weight in best.recurrence.parameters()) == 3 * 512 * (2 + 512) + 6 * 512


def test_a_rollout_begins_with_the_first_frame_alone() -> None:
    model, _ = build("vicreg", SMALL)
    model.eval()
    batch = as_trajectories(MovingDots(DotsConfig(), 0).draw(3, 2))
    made = roll_out(model, batch)
    assert made.predicted.shape == (3, 4, 16)
    later = batch.images.clone()
    later[:, 1:] = 0.0
    other = roll_out(model, type(batch)(later, batch.poses, batch.actions))
    torch.testing.assert_close(made.predicted, other.predicted)
    frames = frames_of(batch.poses)
    first = model.encode(batch.images[:, 0]).embedding
    state, states = first, [first]
    cell = nn.GRUCell(2, 16)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in model.recurrence.state_dict().items()})
    for action in batch.actions.unbind(1):
        state = cell(action, state)
        states.append(state)
    torch.testing.assert_close(made.predicted, torch.stack(states, dim=1)[:, frames[1:]])


def test_inverse_dynamics_asks_for_the_action_between_neighbours() -> None:
    model, objective = build("idm", SMALL)
    batch = as_trajectories(MovingDots(DotsConfig(), 0).draw(5, 2))
    frames = frames_of(batch.poses).tolist()
    rollout = objective.roll_out(model, batch)
    before = torch.cat([rollout.encoded[:, :1], rollout.predicted], dim=1)
    head = objective.add_ons[0].head
    errors = [
        (head(torch.cat([before[:, at], rollout.encoded[:, at + 1]], dim=-1)) - batch.actions[:, frames[at]]).square()
        for at in range(4)
        if frames[at + 1] - frames[at] == 1
    ]
    assert len(errors) in (2, 3)
    expected = torch.stack(errors).mean()
    torch.testing.assert_close(objective(rollout)["inverse_dynamics"], expected)


def test_one_step_of_lars_is_the_formula() -> None:
    matrix, vector = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(5))
    before = matrix.detach().clone(), vector.detach().clone()
    optimizer = Lars([matrix, vector], 0.5, weight_decay=0.1, momentum=0.9, trust=1e-3)
    first = torch.randn(3, 4), torch.randn(5)
    for _ in range(2):
        matrix.grad, vector.grad = first[0].clone(), first[1].clone()
        optimizer.step()
    scaled = []
    weight, momentum = before[0], torch.zeros(3, 4)
    for _ in range(2):
        pull = first[0] + 0.1 * weight
        scaled.append(1e-3 * weight.norm() / pull.norm() * pull)
        momentum = 0.9 * momentum + scaled[-1]
        weight = weight - 0.5 * momentum
    torch.testing.assert_close(matrix.detach(), weight)
    torch.testing.assert_close(vector.detach(), before[1] - 0.5 * (1.0 + 1.9) * first[1])


def test_lars_leaves_a_ratio_of_nothing_alone() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    Lars([weight], 0.1, weight_decay=0.0).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1))


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = LearningConfig(steps=100, warm_up=0.1, floor=0.01)
    shares = [rate_share(at, config) for at in range(100)]
    assert shares[0] == pytest.approx(1 / 11)
    assert shares[10] == pytest.approx(1.0)
    assert shares[55] == pytest.approx(0.505, abs=0.01)
    assert 0.01 <= shares[-1] < 0.02
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)


def test_training_that_diverges_says_so() -> None:
    model, objective = build("vicreg", SMALL)
    with torch.no_grad():
        model.encoder.summary.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="after 1 steps"):
        train(model, objective, MovingDots(DotsConfig(), 0), LearningConfig(steps=1, batch=4))


def test_training_is_a_function_of_its_seeds() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(1)
        model, objective = build("vicreg+idm", SMALL)
        train(model, objective, MovingDots(DotsConfig(noise=1.0), 2), LearningConfig(steps=3, batch=8))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
