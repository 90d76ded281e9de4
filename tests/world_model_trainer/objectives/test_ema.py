"""The slow target: how it moves, that it gets no gradient, and the masked tokens."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch_world.utils.ema import ema_update

from shared.world_model import WorldModel
from tests.world_model_trainer.objectives.networks import config, trajectories
from world_model_trainer.objectives import ObjectiveConfig
from world_model_trainer.objectives.ema import Ema, MaskedTokens
from world_model_trainer.objectives.masking import Masks, blank, draw_masks


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def attached(model: WorldModel, **options: object) -> Ema:
    objective = Ema(model.config, ObjectiveConfig.model_validate({"name": "ema", **options}))
    objective.attach(model)
    return objective


def test_the_target_follows_as_the_other_implementations() -> None:
    model = WorldModel(config(normal_embedding=True))
    objective = attached(model, momentum=(0.9, 1.0), momentum_steps=4)
    other = copy.deepcopy(model.encoder)
    made = objective.roll_out(model, trajectories())
    for step in range(6):
        with torch.no_grad():
            for weight in model.encoder.parameters():
                weight += torch.randn_like(weight)
        momentum = min(1.0, 0.9 + 0.1 * step / 4)
        assert objective.momentum == pytest.approx(momentum)
        ema_update(other, model.encoder, momentum)
        objective.after_step(model, made)
        assert objective.target is not None
        for ours, theirs in zip(objective.target.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_loss_is_smooth_l1_to_the_normalised_target() -> None:
    model = WorldModel(config(normal_embedding=True))
    torch.nn.init.normal_(model.predictor.change.weight)
    objective, batch = attached(model), trajectories()
    made = objective.roll_out(model, batch)
    with torch.no_grad():
        raw = model.encoder(model.pixels(batch.images.flatten(0, 1))).embedding.double().numpy()
    target = (raw - raw.mean(-1, keepdims=True)) / np.sqrt(raw.var(-1, keepdims=True) + 1e-5)
    away = np.abs(made.predicted.detach().double().numpy() - target.reshape(8, 4, 32)[:, 1:])
    expected = np.where(away < 1.0, 0.5 * away**2, away - 0.5).mean()
    loss = objective(made)["prediction"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert objective.target is not None
    assert all(weight.grad is None for weight in objective.target.parameters())


def test_what_is_frozen_is_shared_and_not_copied() -> None:
    frozen = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.Flatten(2))
    networks = config(
        encoder="external", external="frozen", external_tokens=8, external_width=16, normal_embedding=True
    )
    model = WorldModel(networks, external=frozen)
    target = attached(model).target
    assert target is not None
    assert target.network[0].weight is frozen[0].weight  # type: ignore[index,union-attr]
    assert target.summary.summary.weight is not model.encoder.summary.summary.weight  # type: ignore[union-attr]


def test_masked_tokens_are_a_term_only_if_asked_for() -> None:
    model = WorldModel(config("tokens", normal_embedding=True))
    batch = trajectories()
    plain = attached(model)
    assert "masked" not in plain(plain.roll_out(model, batch))
    objective = attached(model, masking=True)
    loss = objective(objective.roll_out(model, batch))["masked"]
    loss.backward()
    assert objective.fill_in is not None
    assert objective.fill_in.unknown.grad is not None
    assert float(model.encoder.patches.weight.grad.abs().sum()) > 0.0  # type: ignore[union-attr,operator]


def test_masked_tokens_are_predicted_from_the_context_alone_each_for_its_place() -> None:
    network = MaskedTokens(16, 6)
    tokens, masks = torch.randn(2, 16, 6), draw_masks(4)
    guess = network(tokens, masks.context, masks.target)
    assert guess.shape == (2, int(masks.target.sum()), 6)
    hidden = tokens.clone()
    hidden[:, ~masks.context.flatten()] = 9.0
    assert torch.equal(network(hidden, masks.context, masks.target), guess)
    assert not torch.equal(guess[:, 0], guess[:, 1])
    with pytest.raises(ValueError, match="square map"):
        MaskedTokens(15, 6)


@given(st.integers(2, 20), st.integers(0, 2**31))
def test_masks_never_overlap_and_never_are_empty(side: int, seed: int) -> None:
    torch.manual_seed(seed)
    masks = draw_masks(side)
    assert masks.target.shape == masks.context.shape == (side, side)
    assert bool(masks.target.any())
    assert bool(masks.context.any())
    assert not bool((masks.target & masks.context).any())


def test_masks_cover_what_the_paper_says() -> None:
    shares = torch.tensor(
        [[float(part.float().mean()) for part in (m.target, m.context)] for m in (draw_masks(16) for _ in range(200))]
    )
    target, context = shares.mean(dim=0).tolist()
    assert 0.35 < target < 0.65, "four blocks of 15 to 20 %, with overlaps"
    assert 0.35 < context < 0.65, "most of what is left"


def test_blanking_shows_the_context_and_nothing_else() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    shown = torch.zeros(4, 4, dtype=torch.bool)
    shown[1, 2] = True
    masks = Masks(~shown, shown)
    blanked = blank(images, masks.context)
    assert torch.equal(blanked[:, :, 8:16, 16:24], images[:, :, 8:16, 16:24])
    rest = blanked.clone()
    rest[:, :, 8:16, 16:24] = blanked[:, :, :1, :1]
    assert torch.equal(rest, blanked[:, :, :1, :1].expand_as(rest))
