"""What surprise says of the examined scene's zones, before any agent is asked: ``python -m benchmarks.reward_maps``.

A camera walks at random through the scene of the examination, a world model with the exam's eyes learns from what it
sees, as often as in the exam, and is then asked about held-out moves: surprise as disagreement, the ensemble's variance
alone, and the expected error. Noise must not outshine what can be learnt, wherever the world model is in its learning.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamer_agent.examination.statistics import spearman
from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.eyes import encode, look, with_eyes
from ptzjepa.agent.material import Transitions, material, scene_of
from ptzjepa.agent.probes import clear_of_tv, errors
from ptzjepa.agent.protocol import MOVES, Camera, Protocol, networks, pose_array
from ptzjepa.agent.zoned import ZonedScene
from ptzjepa.world_model.scenes import Source
from shared.world_model import WorldModel
from shared.world_model.surprise import ExpectedError
from world_model_trainer.objectives import Rollout
from world_model_trainer.objectives.prediction import log_error_term, prediction_term, squared_errors, surprise_term

_RATE, _WARM_UP = 3e-3, 100


@dataclass(frozen=True)
class Map:
    """Means over a zone's moves, by zone; Spearman's ρ with the true error where nothing of the TV is in view."""

    frames: int
    true_error: dict[Zone, float]
    disagreement: dict[Zone, float]
    variance: dict[Zone, float]
    expected_error: dict[Zone, float]
    rho: float


class Student:
    """A world model that learns from embeddings, with both kinds of surprise at once; its encoder stays as it is."""

    def __init__(self, model: WorldModel, seed: int) -> None:
        self.model = model
        self._expected = ExpectedError(networks("error"))
        self._weights = [*model.predictor.parameters(), *model.judge.parameters()]
        self._optimizer = torch.optim.AdamW(self._weights, lr=_RATE, weight_decay=1e-4)
        self._other = torch.optim.AdamW(self._expected.parameters(), lr=_RATE, weight_decay=1e-4)
        self._generator = np.random.default_rng(seed)
        self._batch = Protocol.of(3000).batch

    def learn(self, seen: Transitions) -> None:
        """Take a lesson from moves, a quarter of them from the newest eighth."""
        count, recent = len(seen.action), self._batch // 4
        rows = np.concatenate(
            [
                self._generator.integers(0, count, self._batch - recent),
                self._generator.integers(count - max(1, count // 8), count, recent),
            ]
        )
        some = _rows(seen, torch.from_numpy(rows))
        foreseen = self.model.predict(some.start, some.pose, some.action, some.next_pose)
        unrest = self.model.judge.unrest(some.start, some.pose)
        rollout = Rollout(
            torch.stack([some.start, some.end], dim=1),
            foreseen.embedding.unsqueeze(1),
            foreseen.log_surprise.unsqueeze(1),
            some.action.unsqueeze(1),
            guesses=None if foreseen.guesses is None else foreseen.guesses.unsqueeze(1),
            unrest=None if unrest is None else unrest.unsqueeze(1),
        )
        self._optimizer.zero_grad()
        torch.autograd.backward(prediction_term(rollout) + surprise_term(rollout))
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        error = squared_errors(rollout)[:, 0].detach()
        self.model.judge.observe(some.next_pose, error, some.end)
        self._other.zero_grad()
        torch.autograd.backward(log_error_term(self._expect(some), error))
        self._other.step()

    @torch.no_grad()
    def map(self, asked: Transitions, layout: ZoneLayout, frames: int) -> Map:
        """Return what is expected of held-out moves, and what is true of them."""
        prediction = self.model.predict(asked.start, asked.pose, asked.action, asked.next_pose)
        true = errors(self.model, asked)
        with torch.enable_grad():
            guesses = self.model.predict(asked.start, asked.pose, asked.action, asked.next_pose).guesses
        assert guesses is not None, "the world model's surprise must be disagreement"
        zones = torch.from_numpy(layout.zone_at(asked.next_pose[:, 0].numpy()))
        clear = clear_of_tv(layout, asked)
        columns = (true, prediction.surprise, guesses.detach().var(dim=1).mean(dim=-1), self._expect(asked).exp())
        true_error, disagreement, variance, expected = (
            {zone: float(each[zones == zone].mean()) for zone in Zone} for each in columns
        )
        rho = spearman(prediction.surprise[clear].numpy(), true[clear].numpy())
        return Map(frames, true_error, disagreement, variance, expected, rho)

    def _expect(self, some: Transitions) -> Tensor:
        with torch.no_grad():
            foreseen = self.model.predictor(
                some.start, some.pose, some.action.unsqueeze(1), some.next_pose.unsqueeze(1)
            )
        expected: Tensor = self._expected(foreseen, some.next_pose.unsqueeze(1)).squeeze(1)
        return expected


def walked(scene: ZonedScene, model: WorldModel, frames: int, seed: int, begin: int = 0) -> Transitions:
    """Return the moves of a random walk that begins at the frame ``begin``, its views already encoded."""
    camera, generator, actions = Camera(seed), np.random.default_rng((seed, 77)), []
    poses = [camera.stand()]
    for _ in range(frames):
        move = MOVES[int(generator.integers(len(MOVES)))]
        actions.append((move.pan, move.tilt, 0.0))
        poses.append(camera.move(move))
    where = torch.from_numpy(pose_array(poses))
    seen = encode(model, look(scene, poses, range(begin, begin + frames + 1)), where)
    return Transitions(seen[:-1], where[:-1], torch.tensor(actions), where[1:], seen[1:])


def maps(source: Source, seed: int, frames: int) -> Iterator[Map]:
    """Yield a map now and then; the new zone shows what it has after a third of the frames."""
    onset = frames // 3
    protocol = Protocol.of(6000)
    with tempfile.TemporaryDirectory(prefix="ptz-maps-") as folder:
        known = material(Path(folder) / "material", source, seed, protocol)
    scene = scene_of(source, seed, onset)
    student = Student(with_eyes(known.eyes, "disagreement", seed), seed)
    seen = walked(scene, student.model, frames, seed)
    looks = {onset // 2, onset - 1, onset + onset // 4, onset + onset // 2, 2 * onset, frames - 1}
    for frame in range(_WARM_UP, frames):
        if frame % protocol.train_every == 0:
            student.learn(_rows(seen, slice(0, frame)))
        if frame in looks:
            yield student.map(known.before if frame < onset else known.after, scene.layout, frame)


def _rows(seen: Transitions, rows: Tensor | slice) -> Transitions:
    return Transitions(*(getattr(seen, field.name)[rows] for field in fields(Transitions)))


def line(source: Source, seed: int, found: Map) -> str:
    """Return a row of the table in docs/agents.md."""
    nats = " | ".join(
        f"{found.disagreement[zone]:.3f}" for zone in (Zone.BORING, Zone.AROUND, Zone.HARD, Zone.NEW, Zone.TV)
    )
    ratios = " | ".join(
        f"{each[Zone.TV] / each[Zone.HARD]:.2f}"
        for each in (found.disagreement, found.variance, found.expected_error, found.true_error)
    )
    return f"| {source.name}, {seed} | {found.frames} | {nats} | {ratios} | {found.rho:.2f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of maps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reward_maps", description="Map surprise by zone.")
    parser.add_argument("--panorama", type=Path, metavar="FILE", help="without one: the generated scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=3000)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    source = Source(options.panorama, 0 if options.panorama else options.seed)
    for found in maps(source, options.seed, options.frames):
        print(line(source, options.seed, found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
