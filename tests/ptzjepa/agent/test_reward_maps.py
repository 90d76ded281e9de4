"""What disagreement says of the examined scene's zones, after a random walk through it: the exam in small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.eyes import encode, look
from ptzjepa.agent.material import Transitions
from ptzjepa.agent.probes import errors
from ptzjepa.agent.protocol import MOVES, Camera, networks, pose_array
from ptzjepa.agent.zoned import ZonedScene
from shared.world_model import WorldModel
from world_model_trainer.objectives import Rollout
from world_model_trainer.objectives.prediction import prediction_term, squared_errors, surprise_term

SEED, FRAMES, LESSONS, BATCH = 3, 1000, 300, 64


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    yield
    torch.set_num_threads(threads)


def blots() -> ZonedScene:
    coarse = np.random.default_rng(SEED).integers(0, 256, (16, 32, 3), np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((1024, 512), Image.Resampling.BICUBIC))
    return ZonedScene(picture, ZoneLayout.drawn(SEED), onset=0, seed=SEED)


def walked(scene: ZonedScene, model: WorldModel, seed: int, begin: int) -> Transitions:
    """Return the moves of a random walk, the views already encoded."""
    camera, generator, actions = Camera(seed), np.random.default_rng(seed), []
    poses = [camera.stand()]
    for _ in range(FRAMES):
        move = MOVES[int(generator.integers(len(MOVES)))]
        actions.append((move.pan, move.tilt, 0.0))
        poses.append(camera.move(move))
    where = torch.from_numpy(pose_array(poses))
    seen = encode(model, look(scene, poses, range(begin, begin + FRAMES + 1)), where)
    return Transitions(seen[:-1], where[:-1], torch.tensor(actions), where[1:], seen[1:])


def learn(model: WorldModel, seen: Transitions) -> None:
    """Take lessons in prediction and surprise; the encoder stays as it was drawn."""
    weights = [*model.predictor.parameters(), *model.judge.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(LESSONS):
        rows = torch.randint(FRAMES, (BATCH,), generator=generator)
        start, pose, action, next_pose, end = (
            getattr(seen, name)[rows] for name in ("start", "pose", "action", "next_pose", "end")
        )
        foreseen = model.predict(start, pose, action, next_pose)
        guesses, unrest = foreseen.guesses, model.judge.unrest(start, pose)
        assert guesses is not None
        assert unrest is not None
        rollout = Rollout(
            torch.stack([start, end], dim=1),
            foreseen.embedding.unsqueeze(1),
            foreseen.log_surprise.unsqueeze(1),
            action.unsqueeze(1),
            guesses=guesses.unsqueeze(1),
            unrest=unrest.unsqueeze(1),
        )
        optimizer.zero_grad()
        torch.autograd.backward(prediction_term(rollout) + surprise_term(rollout))
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        model.judge.observe(next_pose, squared_errors(rollout)[:, 0].detach(), end)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.timeout(900)
def test_disagreement_is_where_there_is_something_to_learn_and_not_where_there_is_noise() -> None:
    scene, model = blots(), WorldModel(networks("disagreement"))
    learn(model, walked(scene, model, SEED, 0))
    asked = walked(scene, model, SEED + 1, 10**6)
    with torch.no_grad():
        said = model.predict(asked.start, asked.pose, asked.action, asked.next_pose).surprise
    zones = torch.from_numpy(scene.layout.zone_at(asked.next_pose[:, 0].numpy()))
    nats, error = ({zone: float(each[zones == zone].mean()) for zone in Zone} for each in (said, errors(model, asked)))
    assert error[Zone.TV] > error[Zone.HARD], "most wrong about noise: who seeks errors watches it"
    assert nats[Zone.TV] < 0.7 * min(nats[Zone.HARD], nats[Zone.NEW]), (nats, error)
