"""The generative baseline: what it paints, and from what."""

from __future__ import annotations

import pytest
import torch

from shared.world_model import WorldModel
from shared.world_model.encoder import normalise_light
from tests.world_model_trainer.objectives.networks import config, trajectories
from world_model_trainer.objectives import ObjectiveConfig
from world_model_trainer.objectives.rssm import Decoder, Rssm, divergence


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_paintings_have_the_size_that_is_asked_for(size: int) -> None:
    assert Decoder(10, size)(torch.randn(2, 10)).shape == (2, 3, size, size)


def test_terms_are_those_of_the_formula() -> None:
    networks = config()
    objective = Rssm(networks, ObjectiveConfig(name="rssm", free_nats=0.0))
    model, batch = WorldModel(networks), trajectories(4)
    made = objective.roll_out(model, batch)
    terms = {name: term.detach() for name, term in objective(made).items()}
    seen = normalise_light(batch.images.flatten(0, 1).float() / 255.0).reshape(4, 4, 3, 32, 32)
    painting = made.extra["painting"].detach()
    assert float(terms["reconstruction"]) == pytest.approx(float((painting - seen).square().mean()), rel=1e-5)
    nats = divergence(made.extra["posterior"], made.extra["prior"]).detach().mean()
    assert float(terms["divergence"]) == pytest.approx(0.01 * float(nats), rel=1e-5)


def test_the_prior_knows_the_move_and_not_the_view() -> None:
    networks = config()
    objective = Rssm(networks, ObjectiveConfig(name="rssm"))
    model, batch = WorldModel(networks), trajectories(4)

    def first_prior() -> torch.Tensor:
        torch.manual_seed(1)
        return objective.roll_out(model, batch).extra["prior"][:, 1].detach()

    before = first_prior()
    batch.images[:, 1:] = 0
    assert torch.equal(first_prior(), before)
    batch.poses[:, 1] += 10.0
    assert not torch.equal(first_prior(), before)


def test_it_learns_to_paint() -> None:
    networks = config()
    objective = Rssm(networks, ObjectiveConfig(name="rssm"))
    model, batch = WorldModel(networks), trajectories(2, 1)
    batch.images[:] = torch.linspace(0, 255, 32).to(torch.uint8)  # one gradient from left to right
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        terms = objective(objective.roll_out(model, batch))
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        losses.append(terms["reconstruction"].item())
    assert losses[-1] < 0.5 * losses[0]
