"""Places to train and evaluate in: panoramas, which stand still, and the generated scene, which changes.

A panorama is named by its file and known by its SHA-256, so that a card can tell what a model has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from camera_sampler.simulation.daylight import MORNING
from camera_sampler.simulation.renderer import FIELD_OF_VIEW, field_of_view
from camera_sampler.simulation.scenes import DAY_SECONDS, Scene, open_scene
from ptzjepa.world_model import walking
from ptzjepa.world_model.walking import Array
from shared.errors import UserError
from shared.pose import Pose
from world_model_trainer.evaluation import DayAndNight, Place, Views, Walks
from world_model_trainer.evaluation.loops import TURN_STEPS, turn
from world_model_trainer.evaluation.nuisance import Overlay
from world_model_trainer.evaluation.pose_probe import MLP_STEPS
from world_model_trainer.evaluation.relative_pose import STEPS as HEAD_STEPS
from world_model_trainer.evaluation.relative_pose import Pairs

GENERATED = "generated"
DAYS = 4.0
"""Days of the generated scene over which training's views are spread; evaluation looks at the day after."""
CHUNK = 1000
NOON, MIDNIGHT = 0.5, 0.0
PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Sizes:
    """How many views are evaluated on."""

    fit: int = 6000
    held_out: int = 2000
    walks: int = 256
    moves: int = 16
    earlier: int = 20_000
    circles: int = 64
    nights: int = 1000
    pairs: int = 3000
    head_steps: int = HEAD_STEPS
    mlp_steps: int = MLP_STEPS

    def quick(self) -> Sizes:
        """Return sizes for a first look."""
        return replace(
            self,
            fit=600,
            held_out=300,
            walks=64,
            earlier=1000,
            circles=16,
            nights=200,
            pairs=60,
            head_steps=100,
            mlp_steps=200,
        )


@dataclass(frozen=True)
class Source:
    """A scene by name: ``panorama`` is None for the generated one, which ``seed`` names."""

    panorama: Path | None
    seed: int = 0

    @property
    def name(self) -> str:
        """What tables and cards call it."""
        return self.panorama.stem if self.panorama else f"{GENERATED}-{self.seed}"

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the file's SHA-256; the name itself for the generated scene."""
        if self.panorama is None:
            return self.name
        try:
            return hashlib.sha256(self.panorama.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise UserError(f"panorama {self.panorama}: {error.strerror or error}; give a readable file") from error

    @property
    def changes(self) -> bool:
        """Whether light and traffic change."""
        return self.panorama is None

    def open(self) -> Scene:
        """Open the scene. ``UserError`` where the file is no panorama."""
        return open_scene(self.panorama, seed=self.seed)


def panoramas_in(paths: Sequence[Path]) -> list[Source]:
    """Return the panoramas that files and directories name, by name; the same picture counts once."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
            if not inside:
                raise UserError(f"no panoramas in {path}: give a directory of equirectangular JPEGs or PNGs")
            files += inside
        else:
            files.append(path)
    found = {source.digest: source for source in map(Source, files)}
    return sorted(found.values(), key=lambda source: source.name)


def render(scene: Scene, poses: Array, seconds: Array, size: int) -> torch.Tensor:
    """Render views at ``poses [N, 3]`` and ``seconds [N]``: ``[N, 3, size, size]`` uint8."""
    images = np.empty((len(poses), size, size, 3), np.uint8)
    for index, ((pan, tilt, zoom), at) in enumerate(zip(poses.tolist(), seconds.tolist(), strict=True)):
        images[index] = scene.render(Pose(pan=pan, tilt=tilt, zoom=max(1.0, zoom)), size, size, at)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


class Rendered:
    """Makes views of one scene; all randomness comes from ``seed``."""

    def __init__(self, source: Source, size: int, seed: int, sizes: Sizes, overlay: Overlay | None = None) -> None:
        self._source, self._size, self._seed, self._sizes, self._overlay = source, size, seed, sizes, overlay
        self._scene = source.open()
        self._cells = walking.PoseCells(seed)

    def place(self) -> Place:
        """Render everything that one place is evaluated on; the earlier views come chunk by chunk."""
        sizes = self._sizes
        walks = self.walks(self._generator(3), sizes.walks, sizes.moves, self._later)
        return Place(
            name=self._source.name,
            kind="changing" if self._source.changes else "static",
            field_of_view=FIELD_OF_VIEW,
            fit=self._anywhere(self._generator(1), sizes.fit, held_out=False),
            held_out=self._anywhere(self._generator(2), sizes.held_out, held_out=True),
            walks=walks,
            earlier=self._earlier(),
            circles=self._circles(self._generator(5)),
            hard=self._beside(walks),
            day_and_night=self._day_and_night(self._generator(6)) if self._source.changes else None,
        )

    def walks(self, generator: np.random.Generator, count: int, moves: int, when: tuple[float, float]) -> Walks:
        """Render walks that begin between two days of the scene's time."""
        poses, actions = walking.walk(generator, count, moves)
        seconds = walking.passing(generator.uniform(*when, count) * DAY_SECONDS, actions)
        images = self._render(poses.reshape(-1, 3), seconds.reshape(-1))
        return Walks(
            images.reshape(count, moves + 1, *images.shape[1:]),
            torch.from_numpy(poses),
            torch.from_numpy(actions),
            torch.from_numpy(seconds),
        )

    def pairs(self, generator: np.random.Generator, count: int) -> Pairs:
        """Render pairs of views up to 10° of pan, 6° of tilt and a factor of 1.25 of zoom apart."""
        poses = walking.poses_anywhere(generator, count)
        move = generator.uniform(-1.0, 1.0, (count, 3)) * np.array([10.0, 6.0, np.log(1.25)])
        after = walking.reachable(np.concatenate([poses[:, :2] + move[:, :2], poses[:, 2:] * np.exp(move[:, 2:])], 1))
        seconds = generator.uniform(0.0, DAYS, count) * DAY_SECONDS
        images, next_images = self._render(poses, seconds), self._render(after, seconds)
        return Pairs(images, torch.from_numpy(poses), next_images, torch.from_numpy(after))

    @property
    def _later(self) -> tuple[float, float]:
        return DAYS, DAYS + 1.0

    def _generator(self, purpose: int) -> np.random.Generator:
        # Never the streams that training draws from, whatever its seed.
        return np.random.default_rng((self._seed, 1_000_003, purpose))

    def _render(self, poses: Array, seconds: Array) -> torch.Tensor:
        images = render(self._scene, poses, seconds, self._size)
        return self._overlay.on(images) if self._overlay else images

    def _views(self, poses: Array, seconds: Array) -> Views:
        return Views(self._render(poses, seconds), torch.from_numpy(poses), torch.from_numpy(seconds))

    def _anywhere(self, generator: np.random.Generator, count: int, *, held_out: bool) -> Views:
        poses = self._cells.draw(generator, count, held_out=held_out)
        return self._views(poses, generator.uniform(*self._later, count) * DAY_SECONDS)

    def _earlier(self) -> Iterator[Views]:
        """Yield views as training's walks take them, from the last day before the evaluated one."""
        generator, left = self._generator(4), self._sizes.earlier
        while left > 0:
            count = max(1, min(left, CHUNK) // 21)
            yield self.walks(generator, count, 20, (DAYS - 1.0, DAYS - 0.01)).views()
            left -= count * 21

    def _circles(self, generator: np.random.Generator) -> Walks:
        count = self._sizes.circles
        starts = walking.poses_anywhere(generator, count)
        path = turn(torch.from_numpy(starts))
        seconds = np.repeat(generator.uniform(*self._later, (count, 1)) * DAY_SECONDS, TURN_STEPS + 1, axis=1)
        images = self._render(path.poses.reshape(-1, 3).numpy(), seconds.reshape(-1))
        return Walks(
            images.reshape(count, TURN_STEPS + 1, *images.shape[1:]),
            path.poses,
            path.actions,
            torch.from_numpy(seconds),
        )

    def _beside(self, walks: Walks) -> torch.Tensor:
        """Render views a quarter of the field of view left, right, and above or below the second view of each walk."""
        poses, seconds = walks.poses[:, 1].numpy(), walks.seconds[:, 1].numpy()
        quarter = np.array([field_of_view(float(zoom)) / 4.0 for zoom in poses[:, 2]])
        aside = quarter / np.cos(np.radians(poses[:, 1]))
        down = np.where(poses[:, 1] - quarter >= walking.LIMITS.tilt_min, -quarter, quarter)
        shifts = [(aside, 0.0), (-aside, 0.0), (0.0, down)]
        beside = []
        for pan, tilt in shifts:
            moved = np.stack([poses[:, 0] + pan, poses[:, 1] + tilt, poses[:, 2]], axis=1)
            beside.append(self._render(walking.reachable(moved), seconds))
        return torch.stack(beside, dim=1)

    def _day_and_night(self, generator: np.random.Generator) -> DayAndNight:
        fit = self._cells.draw(generator, self._sizes.nights, held_out=False)
        held_out = self._cells.draw(generator, self._sizes.nights, held_out=True)
        noon, midnight = (
            (DAYS + 1.0 + share - MORNING) * DAY_SECONDS + generator.uniform(-0.02, 0.02, len(fit)) * DAY_SECONDS
            for share in (NOON, MIDNIGHT)
        )
        return DayAndNight(self._views(fit, noon), self._views(held_out, noon), self._views(held_out, midnight))
