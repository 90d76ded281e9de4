"""Who tells the camera's pose from pixels first: ``tiny`` or PTZJEPA, both from scratch on the same views of one scene.

A linear probe (ridge) reads sine and cosine of pan, tilt and log zoom from frozen features at held-out poses.
PTZJEPA's features are its target encoder's tokens, averaged over the view or over 4 × 4 parts of it, whichever does
better, and its score is the best that it ever had, of every quantity by itself. ``tiny`` must pass all three at once.

PTZJEPA learns by the arithmetic that leaves out what changes no result, to make this affordable; it is charged the
CPU time that its step takes as it is, and no time for probes. Its earliest end is extrapolated.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Row
from benchmarks.ptzjepa_step import BATCH, SIDE, PtzjepaStep, Thrift, normalise
from camera_sampler.simulation.renderer import FIELD_OF_VIEW
from ptzjepa.world_model import walking
from ptzjepa.world_model.scenes import Source, render
from shared.world_model import WorldModel, WorldModelConfig, autocast, pick_device
from world_model_trainer.evaluation.pose_probe import linear_probe, score
from world_model_trainer.objectives import Trajectories
from world_model_trainer.training import Trainer, TrainingConfig

QUANTITIES = ("pan", "tilt", "zoom")
WALKS, MOVES = 100, 20
FITTED, HELD_OUT = 600, 300
PROBES, STEPS_BETWEEN = 3, 20
OUR_LIMIT_SECONDS = 300.0
LEAST_MICRO_STEPS = 11 * 105
"""Before which PTZJEPA never ends: 11 epochs of the 420 images of its documented 20 × 20 moves."""
_PARTS = 2
_CHUNK = 50


@dataclass(frozen=True)
class Scene:
    """Views ``[…, 3, 224, 224]`` uint8: of walks ``[W, M + 1]`` to learn from, and ``[N]`` to be asked about."""

    walks: Tensor
    walk_poses: Tensor
    actions: Tensor
    asked: Tensor
    asked_poses: Tensor


@dataclass
class Race:
    """How it went. R² by quantity; CPU seconds of learning."""

    their_step_seconds: float
    micro_steps: int
    theirs: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """After so many micro-steps."""
    ours: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    """After so many CPU seconds."""

    @property
    def best(self) -> dict[str, float]:
        """PTZJEPA's best of each quantity."""
        return {name: max(found[name] for _, found in self.theirs) for name in QUANTITIES}

    @property
    def passed_after(self) -> float:
        """CPU seconds until ``tiny`` was better in all three; infinite where it was not within the limit."""
        return next(
            (seconds for seconds, found in self.ours if all(found[name] > self.best[name] for name in QUANTITIES)),
            math.inf,
        )

    @property
    def share_of_run(self) -> float:
        """That time as a share of the CPU time of the micro-steps that were taken."""
        return self.passed_after / (self.micro_steps * self.their_step_seconds)

    @property
    def share_of_least(self) -> float:
        """That time as a share of the CPU time until PTZJEPA's earliest end: extrapolated from one micro-step."""
        return self.passed_after / (LEAST_MICRO_STEPS * self.their_step_seconds)

    def rows(self) -> list[Row]:
        """Return the table's part."""
        last = self.ours[-1][1]
        return [
            *(Row(f"probe R² of {name}, tiny", last[name], "", reference=self.best[name]) for name in QUANTITIES),
            Row("tiny passes PTZJEPA's best after", self.passed_after, "CPU s", better="lower"),
            Row(f"  ÷ its {self.micro_steps} micro-steps", self.share_of_run, "", better="lower"),
            Row("  ÷ its earliest end, extrapolated", self.share_of_least, "", better="lower"),
        ]

    def document(self) -> dict[str, Any]:
        """Return everything for the JSON file."""
        shares = {"share_of_run": self.share_of_run, "share_of_least": self.share_of_least}
        return {**asdict(self), "best": self.best, "passed_after": self.passed_after, **shares}


def race(
    micro_steps: int, their_step_seconds: float, panorama: Path | None, *, limit: float = OUR_LIMIT_SECONDS
) -> Race:
    """Let PTZJEPA take its micro-steps, then ``tiny`` learn until it knows more, for ``limit`` CPU seconds at most."""
    scene, result = make_scene(panorama), Race(their_step_seconds, micro_steps)
    result.theirs += run_theirs(scene, micro_steps)
    for entry in run_ours(scene):
        result.ours.append(entry)
        if math.isfinite(result.passed_after) or entry[0] > limit:
            break
    return result


def make_scene(panorama: Path | None, *, walks: int = WALKS) -> Scene:
    """Render walks through the scene as it is at one moment, and views in cells of poses to fit at and held out."""
    random, cells, scene = np.random.default_rng(0), walking.PoseCells(0), Source(panorama).open()
    poses, actions = walking.walk(random, walks, MOVES)
    asked = np.concatenate(
        [cells.draw(random, count, held_out=out) for count, out in ((FITTED, False), (HELD_OUT, True))]
    )

    def views(poses: walking.Array) -> Tensor:
        return render(scene, poses, np.zeros(len(poses), np.float32), SIDE)

    return Scene(
        views(poses.reshape(-1, 3)).reshape(walks, MOVES + 1, 3, SIDE, SIDE),
        torch.from_numpy(poses),
        torch.from_numpy(actions),
        views(asked),
        torch.from_numpy(asked),
    )


def run_theirs(scene: Scene, micro_steps: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield what PTZJEPA's target encoder knows before the first micro-step, on the way, and at the end."""
    torch.manual_seed(0)
    random, step = np.random.default_rng(0), PtzjepaStep(Thrift(one_query=True, once=True))
    images, poses = scene.walks.flatten(0, 1), scene.walk_poses.flatten(0, 1)
    stops = {round(micro_steps * part / (PROBES - 1)) for part in range(PROBES)}
    for done in range(micro_steps + 1):
        if done in stops:
            found = [probe(features, scene.asked_poses) for features in their_features(step, scene.asked)]
            yield done, {name: max(each[name] for each in found) for name in QUANTITIES}
        if done < micro_steps:
            chosen = torch.from_numpy(random.choice(len(images), BATCH, replace=False))
            step.micro_step(images[chosen].float() / 255.0, poses[chosen])


def run_ours(scene: Scene) -> Iterator[tuple[float, dict[str, float]]]:
    """Yield what ``tiny`` knows after so many CPU seconds of learning, for ever."""
    torch.manual_seed(0)
    random, config = np.random.default_rng(0), TrainingConfig()
    trainer = Trainer(WorldModel(WorldModelConfig()), config, device=pick_device("cpu"))
    size, spent = trainer.model.config.image_size, 0.0
    walks, asked = smaller(scene.walks.flatten(0, 1), size).reshape(*scene.walks.shape[:3], size, size), scene.asked
    asked = smaller(asked, size)
    for done in itertools.count(1):
        started = time.process_time()
        walk = torch.from_numpy(random.integers(len(walks), size=(config.batch, 1)))
        first = torch.from_numpy(random.integers(MOVES + 1 - config.length, size=(config.batch, 1)))
        moves = first + torch.arange(config.length)
        places = torch.cat([moves, moves[:, -1:] + 1], dim=1)
        trainer.step(Trajectories(walks[walk, places], scene.walk_poses[walk, places], scene.actions[walk, moves]))
        spent += time.process_time() - started
        if done % STEPS_BETWEEN == 0:
            with torch.inference_mode(), autocast(trainer.device):
                features = trainer.model.encode(asked).embedding.float()
            yield spent, probe(features, scene.asked_poses)


def probe(features: Tensor, poses: Tensor) -> dict[str, float]:
    """Return R² of pan (mean of its sine and cosine), tilt and log zoom at poses of cells that were held out."""
    fitted = linear_probe(features[:FITTED], poses[:FITTED])
    found = score(fitted, features[FITTED:], poses[FITTED:], FIELD_OF_VIEW)
    return {name: float(getattr(found, name)) for name in QUANTITIES}


@torch.inference_mode()
def their_features(step: PtzjepaStep, images: Tensor) -> list[Tensor]:
    """Return the target encoder's tokens, averaged over each view, and over each quarter of it."""
    whole, parts = [], []
    for chunk in torch.split(images, _CHUNK):
        tokens = step.target(normalise(chunk.float() / 255.0))
        side = math.isqrt(tokens.shape[1])
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        whole.append(grid.mean(dim=(2, 3)))
        parts.append(F.adaptive_avg_pool2d(grid, _PARTS).flatten(1))
    return [torch.cat(whole), torch.cat(parts)]


def smaller(images: Tensor, size: int) -> Tensor:
    """Return ``images [N, 3, S, S]`` uint8 at another size, each pixel the mean of those that it replaces."""
    chunks = torch.split(images, _CHUNK)
    return torch.cat([F.interpolate(chunk.float(), (size, size), mode="area").round().byte() for chunk in chunks])
