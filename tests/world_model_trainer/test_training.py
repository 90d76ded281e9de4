"""Learning: the model beats copy-last on views it never saw, from the same seed in the same way."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
import torch

from shared.world_model import WorldModel, WorldModelConfig
from tests.world_model_trainer.views import SIZE, picture, walk
from world_model_trainer.objectives import Trajectories
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
    logs = torch.stack([errors.error.clamp_min(1e-9).log(), errors.predicted.clamp_min(1e-9).log()])
    assert float(torch.corrcoef(logs)[0, 1]) > 0.3, "the surprise head knows which views surprise"


def test_without_the_spread_terms_it_collapses() -> None:
    from world_model_trainer.objectives import VicregWithInverseDynamics
    from world_model_trainer.objectives.default import VicregWeights

    generator = seed_everything(0)
    weights = VicregWeights(variance=0.0, covariance=0.0, inverse_dynamics=0.0)
    objective = VicregWithInverseDynamics(CONFIG.embedding_size, weights)
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


def test_the_same_seed_learns_the_same() -> None:
    first, second = train(3, seed=5), train(3, seed=5)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    other = train(3, seed=6)
    assert not torch.equal(first.model.encoder.summary.weight, other.model.encoder.summary.weight)


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
