"""The encoder that all arms of an examination share: learnt once from the plain panorama, then never changed.

Errors of different arms are comparable only in one feature space, and a model whose targets move explains next to
nothing of what comes next in few frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from camera_sampler.simulation.scenes import Scene
from ptzjepa.agent.protocol import MOVES, VIEW, Camera, networks, pose_array
from shared.pose import Pose
from shared.world_model import WorldModel
from world_model_trainer.objectives import Trajectories, build_objective
from world_model_trainer.training import Trainer, TrainingConfig

VIEWS = 2000
BATCH, LENGTH = 32, 3
_CHUNK = 256


def learn_eyes(scene: Scene, seed: int, updates: int) -> dict[str, Tensor]:
    """Return the weights of an encoder that learnt to see in ``scene``, on a random walk, in so many updates."""
    torch.manual_seed(seed)
    generator = np.random.default_rng((seed, 5))
    model = WorldModel(networks("error"))
    trainer = Trainer(
        model,
        TrainingConfig(batch=BATCH, length=LENGTH),
        device=torch.device("cpu"),
        objective=build_objective(model.config),
    )
    camera = Camera(seed)
    poses, actions = [camera.stand()], []
    for _ in range(VIEWS):
        move = MOVES[int(generator.integers(len(MOVES)))]
        actions.append((move.pan, move.tilt, 0.0))
        poses.append(camera.move(move))
    images = look(scene, poses, range(VIEWS + 1))
    where, moves = torch.from_numpy(pose_array(poses)), torch.tensor(actions)
    for step in range(updates):
        start = torch.from_numpy(generator.integers(0, VIEWS - LENGTH, BATCH))[:, None]
        steps = start + torch.arange(LENGTH + 1)
        decay = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / updates))
        trainer.step(Trajectories(images[steps], where[steps], moves[steps[:, :-1]]), decay=decay)
    return {name: weight.detach().clone() for name, weight in model.encoder.state_dict().items()}


def look(scene: Scene, poses: Sequence[Pose], frames: Sequence[int]) -> Tensor:
    """Return views ``[N, 3, S, S]`` uint8 at ``poses``, at these frames."""
    views = [scene.render(pose, VIEW, VIEW, float(frame)) for pose, frame in zip(poses, frames, strict=True)]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def encode(model: WorldModel, images: Tensor, poses: Tensor) -> Tensor:
    """Return the embeddings ``[N, D]`` of ``images [N, 3, S, S]`` at ``poses [N, 3]``."""
    pairs = zip(torch.split(images, _CHUNK), torch.split(poses, _CHUNK), strict=True)
    return torch.cat([model.encode(some, where).embedding for some, where in pairs])


def with_eyes(eyes: dict[str, Tensor], surprise: str, seed: int) -> WorldModel:
    """Return a world model with these eyes that has learnt nothing else; of one seed, predictors begin alike."""
    torch.manual_seed(seed)
    model = WorldModel(networks(surprise))
    model.encoder.load_state_dict(eyes)
    return model
