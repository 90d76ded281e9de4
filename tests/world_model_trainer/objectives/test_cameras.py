"""Statistics within cameras: the trap of the fixed background, and that grouping changes nothing else."""

from __future__ import annotations

import pytest
import torch

from tests.world_model_trainer.objectives.networks import config, rollout
from world_model_trainer.objectives import ObjectiveConfig, build_objective
from world_model_trainer.objectives.cameras import ENOUGH, groups, mean_within_cameras
from world_model_trainer.objectives.vicreg import covariance_term, variance_term


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def offsets(cameras: torch.Tensor, moves: int = 3, size: int = 32) -> torch.Tensor:
    """Return embeddings that tell the camera and nothing else: a constant for each, spread far apart."""
    return 3.0 * torch.randn(int(cameras.max()) + 1, size)[cameras].unsqueeze(1).repeat(1, moves + 1, 1)


CAMERAS = {
    "many of each": torch.arange(64) % 8,
    "few of each": torch.arange(64) % 32,
    "each trajectory its own": torch.arange(64),
    "uneven": torch.tensor([0] * 40 + [1] * 20 + [2] * 3 + [3]),
}


@pytest.mark.parametrize("cameras", CAMERAS.values(), ids=CAMERAS)
def test_what_is_constant_for_a_camera_cannot_satisfy_the_variance_term(cameras: torch.Tensor) -> None:
    trapped = offsets(cameras)
    within = float(mean_within_cameras(variance_term, trapped, cameras))
    assert within > 0.95, "as dear as collapse, which it is: nothing in it depends on the view"
    if len(cameras.unique()) > 4:
        assert float(mean_within_cameras(variance_term, trapped, None)) < 0.2, "across cameras it would pass"


@pytest.mark.parametrize("name", ["vicreg", "sigreg"])
def test_objectives_take_their_statistics_within_cameras(name: str) -> None:
    cameras = CAMERAS["few of each"]
    spread = torch.randn(64, 4, 32)
    trapped = offsets(cameras) / 3.0
    objective = build_objective(config(), ObjectiveConfig(name=name))
    term = {"vicreg": "variance", "sigreg": "sigreg"}[name]
    healthy, fallen = (float(objective(rollout(each, cameras=cameras))[term]) for each in (spread, trapped))
    assert fallen > 3.0 * healthy
    blind = float(objective(rollout(trapped))[term])
    assert fallen > 1.5 * blind, "without the cameras the trap is cheap"


def test_simclr_within_cameras_gets_nothing_from_telling_them_apart() -> None:
    cameras = torch.arange(64)  # a camera for every trajectory: the background tells all apart
    objective = build_objective(config(), ObjectiveConfig(name="simclr"))
    trapped = offsets(cameras)
    assert float(objective(rollout(trapped))["contrast"]) < 0.1, "across cameras it is solved"
    negatives = build_objective(config(), ObjectiveConfig(name="simclr", negatives="trajectory"))
    assert float(negatives(rollout(trapped))["contrast"]) > 1.5, "within a trajectory nothing is: log 5"


def test_one_camera_is_the_plain_statistic() -> None:
    embeddings = torch.randn(20, 3, 6)
    one = torch.zeros(20, dtype=torch.long)
    for term in (variance_term, covariance_term):
        for cameras in (None, one):
            assert float(mean_within_cameras(term, embeddings, cameras)) == pytest.approx(float(term(embeddings)))


def test_groups_count_every_trajectory_once() -> None:
    cameras = CAMERAS["uneven"]
    found = groups(torch.randn(64, 4, 6), cameras)
    assert [(len(samples), round(share * 64)) for samples, share in found] == [(40, 40), (20, 20), (16, 4)]
    assert sum(share for _, share in found) == pytest.approx(1.0)
    for samples, _ in found[:2]:
        assert samples.shape[1] == 4, "time steps by themselves"


def test_pooled_cameras_have_an_unbiased_variance() -> None:
    cameras = torch.arange(3000) // (ENOUGH - 6)
    ((samples, _),) = groups(torch.randn(3000, 2, 4), cameras)
    assert float(samples.var(dim=0).mean()) == pytest.approx(1.0, abs=0.05)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        groups(torch.zeros(0, 2, 4), None)
