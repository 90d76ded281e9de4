"""What disagreement says of the examined scene's zones, after a random walk through it: the exam in small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamer_agent.examination.statistics import spearman
from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.eyes import learn_eyes, look, with_eyes
from ptzjepa.agent.probes import errors
from ptzjepa.agent.protocol import MOVES, Camera, pose_array
from ptzjepa.agent.material import Transitions
from ptzjepa.agent.zoned import ZonedScene
from ptzjepa.world_model.scenes import Source
from shared.world_model import WorldModel
from world_model_trainer.objectives import ObjectiveConfig, Trajectories, build_objective
from world_model_trainer.training import Trainer, TrainingConfig

SEED, FRAMES, STEPS, BATCH = 3, 1200, 500, 64


@pytest.fixture(scope="module")
def scene() -> ZonedScene:
    return ZonedScene(Source(None, SEED).open().equirectangular(1024), ZoneLayout.drawn(SEED), onset=0, seed=SEED)


def walked(scene: ZonedScene, frames: int, generator: np.random.Generator, later: int = 0) -> Trajectories:
    """Return every move of a random walk as a trajectory of its own."""
    camera, actions = Camera(SEED + later), []
    poses = [camera.stand()]
    for _ in range(frames):
        move = MOVES[int(generator.integers(len(MOVES)))]
        actions.append((move.pan, move.tilt, 0.0))
        poses.append(camera.move(move))
    images, where = look(scene, poses, range(later, later + frames + 1)), torch.from_numpy(pose_array(poses))
    pairs = torch.arange(frames)[:, None] + torch.arange(2)
    return Trajectories(images[pairs], where[pairs], torch.tensor(actions)[:, None])


@torch.no_grad()
def asked(model: WorldModel, moves: Trajectories) -> Transitions:
    start, end = (model.encode(moves.images[:, view], moves.poses[:, view]).embedding for view in (0, 1))
    return Transitions(start, moves.poses[:, 0], moves.actions[:, 0], moves.poses[:, 1], end)


@pytest.mark.timeout(900)
def test_disagreement_is_where_there_is_something_to_learn_and_not_where_there_is_noise(scene: ZonedScene) -> None:
    generator = np.random.default_rng(SEED)
    model = with_eyes(learn_eyes(Source(None, SEED).open(), SEED, 60), "disagreement", SEED)
    objective = build_objective(model.config, ObjectiveConfig(name="random"))
    trainer = Trainer(model, TrainingConfig(batch=BATCH, length=1), device=torch.device("cpu"), objective=objective)
    seen = walked(scene, FRAMES, generator)
    for _ in range(STEPS):
        rows = torch.from_numpy(generator.integers(0, FRAMES, BATCH))
        trainer.step(Trajectories(seen.images[rows], seen.poses[rows], seen.actions[rows]))
    found = asked(model, walked(scene, 600, generator, later=10**6))
    with torch.no_grad():
        said = model.predict(found.start, found.pose, found.action, found.next_pose).surprise
    wrong = errors(model, found)
    zones = torch.from_numpy(scene.layout.zone_at(found.next_pose[:, 0].numpy()))
    nats = {zone: float(said[zones == zone].mean()) for zone in Zone}
    error = {zone: float(wrong[zones == zone].mean()) for zone in Zone}
    print(nats, error, spearman(said[zones != Zone.TV].numpy(), wrong[zones != Zone.TV].numpy()))
    assert error[Zone.TV] > error[Zone.HARD], "most wrong about noise: an agent that seeks errors would watch it"
    assert nats[Zone.TV] < 0.7 * min(nats[Zone.HARD], nats[Zone.NEW])
    assert nats[Zone.BORING] < 0.5 * min(nats[Zone.HARD], nats[Zone.NEW])
    outside = (zones != Zone.TV).numpy()
    assert spearman(said.numpy()[outside], wrong.numpy()[outside]) > 0.4
