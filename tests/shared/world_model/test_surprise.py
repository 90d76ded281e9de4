"""Four kinds of surprise, each against what it claims to be."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from shared.world_model import WorldModel, WorldModelConfig
from shared.world_model.predictor import Foreseen
from shared.world_model.surprise import Disagreement, Progress, cells
from tests.shared.world_model.networks import tokens_config


def config(surprise: str, kind: str = "conv", **changes: object) -> WorldModelConfig:
    if kind == "tokens":
        return tokens_config(surprise=surprise, **changes)
    small = {"image_size": 32, "widths": (8, 16), "embedding_size": 16, "hidden_size": 32, "blocks": 1}
    return WorldModelConfig.model_validate({**small, "surprise": surprise, **changes})


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def moves(count: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return embeddings, poses, actions, next poses and the views that came."""
    pose = torch.rand(count, 3) * torch.tensor([90.0, 30.0, 1.0]) + 1.0
    action = torch.randn(count, 3)
    return torch.randn(count, 16), pose, action, pose + action, torch.rand(count, 3, 32, 32)


def test_measured_error_is_the_squared_error_of_each_view() -> None:
    model = WorldModel(config("error"))
    *move, views = moves()
    seen, expected = model.encode(views).embedding, model.predict(*move).embedding
    torch.testing.assert_close(
        model.surprise(*move, next_images=views),
        torch.stack([F.mse_loss(*pair) for pair in zip(expected, seen, strict=True)]),
    )
    torch.testing.assert_close(model.surprise(*move), model.predict(*move).log_surprise.exp())


@pytest.mark.parametrize("kind", ["conv", "tokens"])
@pytest.mark.parametrize("normal", [False, True])
def test_the_gradients_magnitude_is_that_of_each_view_by_itself(kind: str, normal: bool) -> None:
    model = WorldModel(config("gradient", kind, normal_embedding=normal))
    *move, views = moves(9)
    magnitudes = model.surprise(*move, next_images=views)
    weights = list(model.encoder.parameters())
    count = sum(weight.numel() for weight in weights)
    expected = model.predict(*move).embedding.detach()
    for index in range(9):
        error = F.smooth_l1_loss(expected[index : index + 1], model.encode(views[index : index + 1]).embedding)
        total = sum(gradient.abs().sum() for gradient in torch.autograd.grad(error, weights))
        torch.testing.assert_close(magnitudes[index], total / count, rtol=1e-3, atol=1e-9)
    assert float(magnitudes.std() / magnitudes.mean()) > 0.01, "one number for all would tell nothing"


def test_a_view_that_was_foreseen_pulls_on_nothing() -> None:
    model = WorldModel(config("gradient"))
    *_, next_pose, views = moves()
    with torch.no_grad():
        seen = model.encode(views).embedding
    known = model.gradient_surprise(seen, views, next_pose)
    assert float(known.max()) < 1e-3 * float(model.gradient_surprise(seen + 1.0, views, next_pose).min())


def foreseen(evidence: torch.Tensor, dimensions: int) -> Foreseen:
    start = torch.zeros(*evidence.shape[:2], dimensions)
    return Foreseen(start, start, torch.ones(evidence.shape[:2]), evidence)


def nats(judge: Disagreement, place: torch.Tensor, pose: torch.Tensor) -> float:
    return float(judge(foreseen(place, 16), pose).exp().mean())


def test_an_ensemble_agrees_where_it_learnt_noise_or_not_and_nowhere_else() -> None:
    networks = config("disagreement")
    judge = Disagreement(networks)
    direction = F.normalize(torch.randn(3, 2 * networks.hidden_size), dim=-1) * 4.0
    clear, noisy, unknown = ((centre + 0.1 * torch.randn(64, 1, len(centre))) for centre in direction)
    target = torch.randn(2, 1, 1, 1, 16)
    pose = torch.ones(64, 1, 3)
    before = [nats(judge, place, pose) for place in (clear, noisy, unknown)]
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        clear_error = judge.guesses(foreseen(clear, 16)) - target[0]
        noisy_error = judge.guesses(foreseen(noisy, 16)) - target[1] - torch.randn(64, 1, 1, 16)
        shown = (torch.rand(64, 1, networks.members, 1) < 0.5).float()
        ((clear_error.square() + noisy_error.square()) * shown).mean().backward()
        optimizer.step()
        judge.observe(pose[:, 0], torch.zeros(64), torch.randn(64, 16))
    after = [nats(judge, place, pose) for place in (clear, noisy, unknown)]
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.5 * before[1], "noise is no reason to disagree once enough of it was seen"
    assert after[2] > 3.0 * max(after[:2]), "where nothing was learnt they still differ"


def test_disagreement_is_the_information_of_one_more_view() -> None:
    judge = Disagreement(config("disagreement"))
    place, pose = torch.randn(7, 2, 64), torch.rand(7, 2, 3) * 30.0 + 1.0
    variance = judge.guesses(foreseen(place, 16)).var(dim=2).mean(dim=-1)
    torch.testing.assert_close(judge(foreseen(place, 16), pose).exp(), torch.log1p(variance / (0.1 + math.exp(-6.0))))
    with torch.no_grad():
        judge.restless[-1].bias.fill_(1.5)
        for _ in range(400):
            judge.observe(pose[:, 0], torch.zeros(7), torch.tensor([[-2.0], [2.0], [-2.0], [2.0]]).expand(4, 16))
    noise = torch.tensor(1.5).exp() + 0.1 * 16.0 / 3.0
    torch.testing.assert_close(judge(foreseen(place, 16), pose).exp(), torch.log1p(variance / noise))


def test_averaged_members_follow_and_only_after_a_lesson() -> None:
    judge = Disagreement(config("disagreement"))
    born = judge.slow_first.clone()
    with torch.no_grad():
        judge.first += 1.0
    judge(foreseen(torch.randn(2, 1, 64), 16), torch.ones(2, 1, 3))
    assert torch.equal(judge.slow_first, born)
    judge.observe(torch.ones(2, 3), torch.zeros(2), torch.randn(2, 16))
    torch.testing.assert_close(judge.slow_first, born + 0.02)


def test_nothing_makes_an_ensemble_agree_to_please_the_policy() -> None:
    model = WorldModel(config("disagreement"))
    *move, _ = moves()
    prediction = model.predict(*move)
    assert not prediction.log_surprise.requires_grad
    assert prediction.guesses is not None
    assert prediction.guesses.shape == (5, 5, 16)
    prediction.guesses.sum().backward()
    taught = [name for name, weight in model.named_parameters() if weight.grad is not None]
    assert taught
    assert all(name.startswith("judge.") for name in taught), "the members bend nothing but themselves"


def poses(pan: float, count: int = 1) -> torch.Tensor:
    return torch.tensor([[pan, 0.0, 1.0]]).expand(count, 3)


def expected_progress(judge: Progress, pan: float) -> float:
    nothing = foreseen(torch.zeros(1, 1, 2), 2)
    return float(judge(nothing, poses(pan).unsqueeze(0)).exp())


def test_progress_is_where_errors_fall_and_not_where_they_stay() -> None:
    judge = Progress(config("progress"))
    assert expected_progress(judge, 0.0) == pytest.approx(1.0), "nothing known yet: all alike"
    for step in range(30):
        noise = 5.0 + torch.randn(4).abs() * 0.01
        judge.observe(
            torch.cat([poses(0.0, 4), poses(40.0, 4), poses(80.0, 4)]),
            torch.cat([torch.full((4,), 2.0 * 0.9**step), noise, torch.full((4,), 0.01)]),
            torch.zeros(12, 16),
        )
    learning, noisy, known = (expected_progress(judge, pan) for pan in (0.0, 40.0, 80.0))
    assert learning > 0.3
    assert noisy < 0.05 * learning, "noise is wrong for ever and promises nothing"
    assert known < 0.01 * learning
    assert expected_progress(judge, -120.0) == pytest.approx(learning), (
        "a place never seen promises as much as the best"
    )
    for _ in range(600):
        judge.observe(poses(0.0), torch.full((1,), 0.1), torch.zeros(1, 16))
    assert expected_progress(judge, 0.0) < 0.1 * learning, "what was learnt is over"


def test_running_means_move_by_their_rates_once_a_batch() -> None:
    judge = Progress(config("progress"))
    judge.observe(poses(0.0, 3), torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, 16))
    place = cells(poses(0.0))
    assert float(judge.fast[place]) == float(judge.slow[place]) == 2.0
    judge.observe(poses(0.0, 2), torch.tensor([0.0, 2.0]), torch.zeros(2, 16))
    assert float(judge.fast[place]) == pytest.approx(1.9)
    assert float(judge.slow[place]) == pytest.approx(1.99)
    assert float(judge.visits.sum()) == 5.0


def test_cells_close_the_circle_and_hold_every_pose() -> None:
    extremes = torch.cartesian_prod(
        torch.tensor([-360.0, -180.0, 0.0, 179.9, 180.0]),
        torch.tensor([-90.0, 0.0, 90.0]),
        torch.tensor([0.5, 1.0, 40.0]),
    )
    found = cells(extremes)
    assert int(found.min()) >= 0
    assert int(found.max()) < 24 * 12 * 4
    assert torch.equal(cells(poses(180.0)), cells(poses(-180.0)))
    assert len({int(cells(poses(pan))) for pan in range(-180, 180, 15)}) == 24


@pytest.mark.parametrize("kind", ["error", "disagreement", "progress", "gradient"])
def test_every_kind_is_one_number_a_move_and_never_negative(kind: str) -> None:
    model = WorldModel(config(kind))
    *move, views = moves()
    for surprise in (model.surprise(*move), model.surprise(*move, next_images=views)):
        assert surprise.shape == (5,)
        assert bool((surprise >= 0.0).all())
        assert bool(torch.isfinite(surprise).all())


def test_what_is_seen_and_not_learnt_from_changes_neither_disagreement_nor_progress() -> None:
    for kind in ("disagreement", "progress"):
        model = WorldModel(config(kind))
        *move, views = moves()
        assert torch.equal(model.surprise(*move), model.surprise(*move, next_images=views))
