"""The losses against closed forms and an independent implementation."""

from __future__ import annotations

import math

import pytest
import torch

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.objectives import ObjectiveConfig, Rollout, Trajectories, build_objective, roll_out
from world_model_trainer.objectives.inverse_dynamics import InverseDynamics
from world_model_trainer.objectives.prediction import log_error_term
from world_model_trainer.objectives.vicreg import covariance_term, variance_term

SMALL = WorldModelConfig(image_size=32, widths=(8, 16), embedding_size=16, hidden_size=32, blocks=1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def views(encoded: torch.Tensor, actions: torch.Tensor) -> Rollout:
    return Rollout(encoded, encoded[:, 1:], torch.zeros(len(encoded), encoded.shape[1] - 1), actions)


def test_collapse_costs_and_spread_does_not() -> None:
    collapsed = torch.ones(64, 3, 8)
    assert float(variance_term(collapsed)) == pytest.approx(1.0 - math.sqrt(1e-4), abs=1e-4)
    assert float(variance_term(torch.randn(4096, 3, 8) * 2.0)) == 0.0


def test_variance_is_taken_at_each_time_step() -> None:
    # Varies over time, never over the batch: to a pooled statistic it would look spread out.
    over_time = torch.linspace(-5, 5, 7).reshape(1, 7, 1).expand(64, 7, 8)
    assert float(variance_term(over_time)) > 0.98


def test_covariance_equals_the_formula_written_out() -> None:
    embeddings = torch.randn(32, 2, 5, dtype=torch.float64)
    expected = 0.0
    for time in range(2):
        covariance = torch.cov(embeddings[:, time].T)
        expected += sum(float(covariance[i, j]) ** 2 for i in range(5) for j in range(5) if i != j) / 5 / 2
    assert float(covariance_term(embeddings)) == pytest.approx(expected, rel=1e-10)


def test_redundant_dimensions_cost() -> None:
    independent = torch.randn(512, 1, 8)
    redundant = independent[..., :1].expand(512, 1, 8)
    assert float(covariance_term(redundant)) > 20 * float(covariance_term(independent))


def test_inverse_dynamics_needs_the_move_in_the_embedding() -> None:
    actions = torch.randn(512, 1, 3) * torch.tensor([5.0, 5.0, 0.1])
    start = torch.randn(512, 1, 16)
    moved = torch.cat([actions / torch.tensor([5.0, 5.0, 0.1]), torch.zeros(512, 1, 13)], dim=-1)
    informed = torch.cat([start, start + moved], dim=1)
    blind = torch.cat([start, torch.randn(512, 1, 16)], dim=1)
    unseen = {}
    for name, encoded in (("informed", informed), ("blind", blind)):
        head = InverseDynamics(SMALL, ObjectiveConfig())
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)
        for _ in range(150):
            optimizer.zero_grad()
            head(views(encoded[:256], actions[:256]))["inverse_dynamics"].backward()
            optimizer.step()
        unseen[name] = head(views(encoded[256:], actions[256:]))["inverse_dynamics"].item()
    assert unseen["informed"] < 0.3 * unseen["blind"]


def test_surprise_is_calibrated_without_touching_the_error() -> None:
    error = torch.rand(32, 4, requires_grad=True)
    log_surprise = torch.zeros(32, 4, requires_grad=True)
    log_error_term(log_surprise, error).backward()
    assert error.grad is None
    assert log_surprise.grad is not None
    assert float(log_error_term(torch.log(error.detach() + 1e-6), error)) == 0.0


def test_terms_are_named_weighted_and_summed_by_nobody_else() -> None:
    objective = build_objective(SMALL, ObjectiveConfig(name="vicreg+idm", weights={"prediction": 3.0, "variance": 0.0}))
    encoded = torch.randn(8, 3, 16)
    rollout = Rollout(encoded, encoded[:, 1:] + 0.5, torch.zeros(8, 2), torch.randn(8, 2, 3))
    terms = objective(rollout)
    assert set(terms) == {"prediction", "variance", "covariance", "inverse_dynamics", "surprise"}
    assert float(terms["prediction"]) == pytest.approx(3.0 * 0.25, rel=1e-5)
    assert float(terms["variance"]) == 0.0


def test_roll_out_predicts_open_loop_from_the_first_view() -> None:
    model = WorldModel(SMALL)
    torch.nn.init.normal_(model.predictor.change.weight, std=0.1)
    batch = Trajectories(
        torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8), torch.rand(4, 4, 3) + 1.0, torch.randn(4, 3, 3)
    )
    rollout = roll_out(model, batch)
    other_ends = Trajectories(batch.images.clone(), batch.poses, batch.actions)
    other_ends.images[:, 1:] = 0
    torch.testing.assert_close(roll_out(model, other_ends).predicted, rollout.predicted)
    torch.testing.assert_close(rollout.encoded[:, 2], model.encode(batch.images[:, 2]).embedding)
    assert rollout.log_surprise.shape == (4, 3)
