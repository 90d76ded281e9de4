"""The move between two views, read from where places are found again."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.world_model import WorldModel, WorldModelConfig
from tests.world_model_trainer.objectives.networks import config
from world_model_trainer.correspondence import Correspondence, fit_similarity, pose_change
from world_model_trainer.objectives import ObjectiveConfig, Rollout
from world_model_trainer.objectives.motion import Motion

SIDE, WIDTH = 8, 24


def shifted(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maps of random features, the same shifted by up to two places, and the shifts."""
    generator = torch.Generator().manual_seed(seed)
    fields = torch.randn(count, SIDE + 4, SIDE + 4, WIDTH, generator=generator)
    shifts = torch.randint(-2, 3, (count, 2), generator=generator)
    seen = [field[2 + x : 2 + x + SIDE, 2 + y : 2 + y + SIDE] for field, (x, y) in zip(fields, shifts, strict=True)]
    before = fields[:, 2 : 2 + SIDE, 2 : 2 + SIDE]
    return before.flatten(1, 2), torch.stack(seen).flatten(1, 2), shifts.float()


def test_places_are_found_where_they_went() -> None:
    head = Correspondence(SIDE**2, WIDTH)
    torch.nn.init.constant_(head.log_sharpness, math.log(20.0))
    before, after, shifts = shifted(20, 0)
    here, there = (torch.nn.functional.normalize(each, dim=-1) for each in (before, after))
    found, _ = head._search(here, there, before)
    step = 2.0 / (SIDE - 1)
    displacements = found.reshape(20, SIDE // 2, SIDE // 2, 5)[:, 1:-1, 1:-1, :2]  # inner places never leave the map
    for one, shift in zip(displacements, shifts, strict=True):
        torch.testing.assert_close(one / (3.0 * step), -shift.expand_as(one), atol=0.2, rtol=0.0)


@given(
    scale=st.floats(0.5, 2.0),
    turn=st.floats(-1.0, 1.0),
    shift=st.tuples(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_similarity_is_found_again_whatever_the_weights(
    scale: float, turn: float, shift: tuple[float, float], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(12, 2, generator=generator).clamp(-2.0, 2.0)
    weights = torch.rand(1, 12, generator=generator) + 0.1
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    found = (scale * places @ rotation.T + torch.tensor(shift)).unsqueeze(0)
    fit = fit_similarity(places, found, weights / weights.sum())
    torch.testing.assert_close(fit(places), found, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fit.numbers()[0], torch.tensor([*shift, math.log(scale), turn]), atol=2e-3, rtol=1e-3)


def test_a_place_that_was_found_wrong_counts_by_its_weight() -> None:
    places = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    found = places.clone().unsqueeze(0) + 0.5
    found[0, 3] += 10.0
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0]]) / 3.0
    torch.testing.assert_close(fit_similarity(places, found, weights).numbers()[0, :2], torch.tensor([0.5, 0.5]))


def test_a_change_of_pose_goes_the_short_way_round() -> None:
    change = pose_change(torch.tensor([[175.0, 3.0, 1.0]]), torch.tensor([[-175.0, 0.0, 1.25]]))
    expected = torch.tensor([[10.0 / 10.0, -3.0 / 6.0, 1.0]]) * math.sqrt(3.0)
    torch.testing.assert_close(change, expected)


def test_the_term_teaches_the_spatial_map_and_not_the_embedding() -> None:
    networks = config(image_size=32, widths=(8, 16))
    model, objective = WorldModel(networks), Motion(networks, ObjectiveConfig(name="vicreg+motion"))
    objective.attach(model)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    encoding = model.encode(images)
    poses = torch.tensor([[0.0, 0.0, 1.0], [5.0, 2.0, 1.1], [8.0, 1.0, 1.2]]).expand(2, 3, 3)
    tokens = encoding.tokens.reshape(2, 3, *encoding.tokens.shape[1:])
    encoded = encoding.embedding.reshape(2, 3, -1)
    rollout = Rollout(encoded, encoded[:, 1:], torch.zeros(2, 2), torch.zeros(2, 2, 3), poses=poses, tokens=tokens)
    (term,) = objective(rollout).values()
    term.backward()
    stages = [parameter.grad for parameter in model.encoder.stages[: model.encoder.token_stage].parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0.0 for gradient in stages)
    assert all(parameter.grad is None for parameter in model.encoder.summary.parameters())


def test_an_encoder_without_a_map_is_refused() -> None:
    networks = WorldModelConfig(encoder="external", external="x", external_width=128)
    model = WorldModel(networks, external=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 128)))
    with pytest.raises(ValueError, match="spatial map"):
        Motion(networks, ObjectiveConfig(name="vicreg+motion")).attach(model)
