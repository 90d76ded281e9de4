"""Learning: the model beats copy-last on views it never saw, from the same seed in the same way."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.world_model import WorldModel, WorldModelConfig, load_checkpoint, save_checkpoint
from tests.world_model_trainer.objectives.networks import config, trajectories
from tests.world_model_trainer.views import SIZE, picture, walk
from world_model_trainer import training
from world_model_trainer.objectives import OBJECTIVES, ObjectiveConfig, Trajectories, build_objective
from world_model_trainer.replay import Replay
from world_model_trainer.training import DivergedError, FreshErrors, Trainer, TrainingConfig, seed_everything

CONFIG = WorldModelConfig(image_size=SIZE, widths=(8, 16, 32), embedding_size=32, hidden_size=64, blocks=1)


@functools.cache
def replay_of(count: int, seed: int) -> Replay:
    with tempfile.TemporaryDirectory() as directory:
        replay = Replay(Path(directory) / "views", SIZE, views=4096)
    for view in walk(count, seed=seed):
        replay.add(view, picture(view.pose))
    return replay


def train(steps: int, seed: int = 0) -> Trainer:
    generator = seed_everything(seed)
    trainer = Trainer(WorldModel(CONFIG), TrainingConfig(batch=32), device=torch.device("cpu"))
    replay = replay_of(2000, seed=1)
    for _ in range(steps):
        batch = replay.sample(32, 4, generator)
        assert batch is not None
        trainer.step(batch)
    return trainer


def fresh_errors(trainer: Trainer) -> FreshErrors:
    replay = replay_of(200, seed=99)
    return trainer.measure(replay.trajectories(replay.ends(1), 1))


def ratio(errors: FreshErrors) -> float:
    return float(errors.error.mean() / errors.copy_last_error.mean())


def test_it_beats_copy_last_on_fresh_views_and_does_not_collapse() -> None:
    torch.set_num_threads(1)
    born = Trainer(WorldModel(CONFIG), TrainingConfig(), device=torch.device("cpu"))
    assert ratio(fresh_errors(born)) == pytest.approx(1.0, abs=1e-3), "untrained, it is copy-last"
    trainer = train(200)
    errors = fresh_errors(trainer)
    assert ratio(errors) < 0.75
    replay = replay_of(200, seed=99)
    with torch.no_grad():
        embedding = trainer.model.encode(replay.trajectories(replay.ends(1), 1).images[:, 1]).embedding
    assert float(embedding.std(dim=0).mean()) > 0.2, "embeddings have not collapsed"
    values = torch.linalg.svdvals((embedding - embedding.mean(dim=0)).double())
    shares = values.square() / values.square().sum()
    assert float(torch.exp(-(shares * shares.log()).sum())) > 4.0, "nor onto a line"
    logs = torch.stack([errors.error.clamp_min(1e-9).log(), errors.predicted.clamp_min(1e-9).log()])
    assert float(torch.corrcoef(logs)[0, 1]) > 0.3, "the surprise head knows which views surprise"


def test_without_the_spread_terms_it_collapses() -> None:
    generator = seed_everything(0)
    objective = build_objective(CONFIG, ObjectiveConfig(name="vicreg", weights={"variance": 0.0, "covariance": 0.0}))
    trainer = Trainer(WorldModel(CONFIG), TrainingConfig(batch=32), device=torch.device("cpu"), objective=objective)
    replay = replay_of(2000, seed=1)
    for _ in range(120):
        batch = replay.sample(32, 4, generator)
        assert batch is not None
        trainer.step(batch)
    assert batch is not None
    with torch.no_grad():
        embedding = trainer.model.encode(batch.images[:, 0]).embedding
    assert float(embedding.std(dim=0).mean()) < 0.1, "or the test above would prove nothing"


SURPRISES = ["error", "disagreement", "progress", "gradient"]


def trainer_for(kind: str, name: str, **changes: Any) -> Trainer:
    objective_config = ObjectiveConfig(name=name, masking=True)
    networks = config(kind, normal_embedding=name.startswith("ema"), **changes)
    objective = build_objective(networks, objective_config)
    learning = TrainingConfig(batch=8, warm_up_steps=0)
    return Trainer(WorldModel(networks), learning, device=torch.device("cpu"), objective=objective)


@pytest.mark.parametrize("kind", ["conv", "tokens"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_learns_with_every_kind_of_networks(name: str, kind: str) -> None:
    seed_everything(0)
    trainer = trainer_for(kind, f"{name}+idm+pose", surprise=SURPRISES[len(name) % 4])
    batch = trajectories(cameras=True)
    losses = [trainer.step(batch)["total"] for _ in range(10)]
    assert losses[-1] < losses[0]
    assert trainer.model.learnt_by == f"{name}+idm+pose"
    loaded, _ = load_checkpoint(save_checkpoint(trainer.model, {}))
    assert loaded.learnt_by == trainer.model.learnt_by


@pytest.mark.parametrize("surprise", SURPRISES)
def test_surprise_is_learnt_of_whatever_kind_it_is(surprise: str) -> None:
    seed_everything(0)
    trainer = trainer_for("conv", "vicreg+idm+pose", surprise=surprise)
    batch = trajectories()
    before = {name: tensor.clone() for name, tensor in trainer.model.judge.state_dict().items()}
    terms = [trainer.step(batch) for _ in range(80)]
    after = trainer.model.judge.state_dict()
    assert any(not torch.equal(before[name], tensor) for name, tensor in after.items())
    if surprise == "progress":
        assert "surprise" not in terms[0], "which is counted, not learnt"
        assert float(trainer.model.judge.visits.sum()) == 80 * 8
    else:
        assert terms[-1]["surprise"] < terms[0]["surprise"]


@pytest.mark.parametrize("kind", ["conv", "tokens"])
def test_a_step_in_half_precision_is_close_to_one_in_full(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {}
    for dtype in (torch.float32, torch.bfloat16):
        enabled = dtype == torch.bfloat16
        monkeypatch.setattr(
            training, "autocast", lambda _, on=enabled: torch.autocast("cpu", torch.bfloat16, enabled=on)
        )
        seed_everything(0)
        trainer = trainer_for(kind, "vicreg+idm+pose", surprise="disagreement")
        batch = trajectories()
        trainer.step(batch)
        terms[dtype] = trainer.step(batch)
        assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
    assert terms[torch.bfloat16] == pytest.approx(terms[torch.float32], rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", ["vicreg+idm+pose", "sigreg", "ema", "rssm"])
def test_the_same_seed_learns_the_same_with_all_that_is_drawn(name: str) -> None:
    def learnt(seed: int) -> dict[str, torch.Tensor]:
        seed_everything(seed)
        trainer = trainer_for("tokens", name, surprise="gradient" if name == "ema" else "disagreement")
        batch = trajectories()
        for _ in range(2):
            trainer.step(batch)
        return trainer.model.state_dict()

    first, second, other = learnt(1), learnt(1), learnt(2)
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in first.items())


def test_the_same_seed_learns_the_same() -> None:
    first, second = train(3, seed=5), train(3, seed=5)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    other = train(3, seed=6)
    assert any(
        not torch.equal(tensor, other.model.state_dict()[name]) for name, tensor in first.model.state_dict().items()
    )


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    trainer = train(1)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    broken = Trajectories(
        torch.zeros(8, 5, 3, SIZE, SIZE, dtype=torch.uint8), torch.full((8, 5, 3), float("nan")), torch.zeros(8, 4, 3)
    )
    with pytest.raises(DivergedError):
        trainer.step(broken)
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
