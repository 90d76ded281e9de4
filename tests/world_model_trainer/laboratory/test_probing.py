"""Probes and plans beside models of which it is known what they know."""

from __future__ import annotations

import pytest
import torch

from tests.world_model_trainer.laboratory.knowing import Ignorant, Knowing
from world_model_trainer.laboratory.moving_dots.data import ACTION_SCALE, MAX_STEP, DotsConfig, MovingDots
from world_model_trainer.laboratory.moving_dots.planning import limited, plan, probe_mpc
from world_model_trainer.laboratory.moving_dots.probing import fit_probe, probe, squared_errors


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def clean(seed: int = 3, **options: object) -> MovingDots:
    return MovingDots(DotsConfig(normalize=False, **options), seed)  # type: ignore[arg-type]


def test_the_probe_is_the_least_squares_solution() -> None:
    states = torch.randn(200, 5, 6)
    locations = 13.5 + states @ torch.randn(6, 2) + 0.1 * torch.randn(200, 5, 2)
    read = fit_probe(states, locations)
    exact = torch.linalg.lstsq(states.flatten(0, 1), locations.flatten(0, 1) - 13.5).solution
    torch.testing.assert_close(read(states), states @ exact + 13.5, atol=1e-3, rtol=0)
    assert float(squared_errors(read, states, locations).mean()) == pytest.approx(0.02, rel=0.1)


def test_who_knows_the_dot_has_no_error_and_who_does_not_knows_nothing() -> None:
    knowing, ignorant = probe(Knowing(), clean(), 500), probe(Ignorant(), clean(), 500)
    assert knowing["rmse"] < 0.05
    assert knowing["encoder_rmse"] < 0.05
    assert max(knowing["rmse_by_step"]) < 0.05
    assert len(knowing["rmse_by_step"]) == 17
    assert ignorant["rmse"] == pytest.approx(ignorant["mean_rmse"], rel=0.02)
    assert 8.7 < ignorant["mean_rmse"] < 9.8
    assert "dots" not in knowing


def test_three_dots_are_probed_each() -> None:
    found = probe(Ignorant(), clean(dots=3, channels=3), 250)
    assert len(found["dots"]) == 3
    assert found["dots"][0]["rmse"] == found["rmse"]


def test_within_between_shows_an_encoder_of_the_background() -> None:
    dots = MovingDots(DotsConfig(static_noise=1.0), 1)
    knowing = probe(Knowing(), clean(), 500)["within_between"]
    model = Knowing()
    model.encode = (
        lambda images, pose=None: type(  # type: ignore[method-assign]
            "Corner", (), {"embedding": images[:, 0, 0, :8]}
        )
    )
    assert probe(model, dots, 250)["within_between"] < 0.01 < 0.1 < knowing


def test_plans_reach_their_targets_and_random_actions_do_not() -> None:
    found = probe_mpc(Knowing(), clean(), 40, 250)
    assert found["distance"] < 0.5
    assert found["arrived"] >= 0.85
    assert found["random"] > 5.0
    assert found["start"] > 5.0
    assert found["random_arrived"] < 0.2


def test_no_plan_is_faster_than_the_data() -> None:
    first, targets = torch.zeros(3, 8), torch.full((3, 2), 24.0)
    read = fit_probe(torch.eye(8).unsqueeze(0), torch.eye(8)[:, :2].unsqueeze(0) + 13.5)
    actions = plan(Knowing(), read, first, targets, 4)
    assert actions.shape == (3, 4, 2)
    assert float(actions.norm(dim=-1).max()) * ACTION_SCALE <= MAX_STEP + 1e-4
    assert float((actions * ACTION_SCALE).sum(dim=1).mean()) > 8.0, "towards the corner"
    torch.testing.assert_close(limited(torch.tensor([[0.3, 0.4]])), torch.tensor([[0.3, 0.4]]))
