"""What the arms of one seed are examined with: eyes, and held-out views of the scene, already encoded.

Made once a seed, kept in a file. The grader's views are taken at frames that no arm ever lives through.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamer_agent.examination.zones import Zone, ZoneLayout
from ptzjepa.agent.eyes import encode, learn_eyes, look, with_eyes
from ptzjepa.agent.protocol import JITTER, LIMITS, MOVES, PLACES, ZOOM, Protocol, pose_array
from ptzjepa.agent.zoned import ZonedScene
from ptzjepa.run_directory import write_atomically
from ptzjepa.world_model.scenes import Source
from shared.pose import Pose
from shared.world_model import WorldModel, load_tensors, save_tensors

FORMAT = "ptzjepa-exam-material-1"
TRANSITIONS = 720
"""Three of four show nothing of the TV: enough to calibrate on."""
WALKS, WALK_MOVES = 128, 5
_AFTER = 10**6
_EYES = "eyes."


@dataclass(frozen=True)
class Transitions:
    """Moves that the grader made: ``start`` and ``end [N, D]``, ``pose``, ``action`` and ``next_pose [N, 3]``."""

    start: Tensor
    pose: Tensor
    action: Tensor
    next_pose: Tensor
    end: Tensor


@dataclass(frozen=True)
class Walks:
    """Several moves in a row: ``embeddings [B, T+1, D]``, ``poses [B, T+1, 3]``, ``actions [B, T, 3]``."""

    embeddings: Tensor
    poses: Tensor
    actions: Tensor


@dataclass(frozen=True)
class Material:
    """``eyes`` are the encoder's weights; ``before`` and ``after`` the onset of the new zone; ``walks`` after it."""

    eyes: dict[str, Tensor]
    before: Transitions
    after: Transitions
    walks: Walks


def scene_of(source: Source, seed: int, onset: int) -> ZonedScene:
    """Return the examined scene. ``UserError`` where its file is no panorama."""
    plain = source.open().equirectangular(1024)
    return ZonedScene(plain, ZoneLayout.drawn(seed), onset=onset, seed=seed)


def material(path: Path, source: Source, seed: int, protocol: Protocol) -> Material:
    """Return the material of a seed: what lies at ``path``, or made and kept there."""
    if path.exists():
        try:
            return _unpacked(path.read_bytes())
        except (OSError, ValueError):
            path.unlink()
    made = _made(source, seed, protocol)
    tensors = {f"{_EYES}{name}": weight for name, weight in made.eyes.items()}
    for part in ("before", "after", "walks"):
        group = getattr(made, part)
        tensors |= {f"{part}.{field.name}": getattr(group, field.name) for field in fields(group)}
    write_atomically(path, save_tensors(tensors, {"format": FORMAT}))
    return made


def _unpacked(data: bytes) -> Material:
    tensors, card = load_tensors(data)
    if card.get("format") != FORMAT:
        raise ValueError("material of another version")

    def group(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(name): tensor for key, tensor in tensors.items() if key.startswith(name)}

    return Material(
        group(_EYES), Transitions(**group("before.")), Transitions(**group("after.")), Walks(**group("walks."))
    )


def _made(source: Source, seed: int, protocol: Protocol) -> Material:
    eyes = learn_eyes(source.open(), seed, protocol.eyes_steps)
    scene = scene_of(source, seed, protocol.onset)
    generator = np.random.default_rng((seed, 1_000_003))
    model = with_eyes(eyes, "error", seed)
    paths = [_path(generator, 1) for _ in range(TRANSITIONS)]
    transitions: list[Transitions] = []
    for beginning in (-_AFTER, _AFTER):
        seen = _walked(scene, model, paths, beginning)
        first, second = seen.embeddings.unbind(1)
        transitions.append(Transitions(first, seen.poses[:, 0], seen.actions[:, 0], seen.poses[:, 1], second))
    walked: list[_Path] = []
    while len(walked) < WALKS:
        path = _path(generator, WALK_MOVES)
        # Nobody can foresee what the TV shows.
        if not (scene.layout.zone_at([pose.pan for pose in path.poses]) == Zone.TV).any():
            walked.append(path)
    before, after = transitions
    return Material(eyes, before, after, _walked(scene, model, walked, 2 * _AFTER))


@dataclass(frozen=True)
class _Path:
    poses: list[Pose]
    actions: list[tuple[float, float, float]]


def _path(generator: np.random.Generator, moves: int) -> _Path:
    """Walk at random to a place, so that where walks of one move end is even over all places."""
    pan, tilt = PLACES[int(generator.integers(len(PLACES)))]
    places, actions = [(pan, tilt)], list[tuple[float, float, float]]()
    while len(actions) < moves:
        move = MOVES[int(generator.integers(1, len(MOVES)))]
        pan, tilt = places[0][0] - move.pan, places[0][1] - move.tilt
        if LIMITS.tilt_min <= tilt <= LIMITS.tilt_max:
            places.insert(0, (pan, tilt))
            actions.insert(0, (move.pan, move.tilt, 0.0))
    off = generator.uniform(-JITTER, JITTER, (len(places), 2))
    poses = [
        LIMITS.reach(pan + float(aside), tilt + float(up), ZOOM)
        for (pan, tilt), (aside, up) in zip(places, off, strict=True)
    ]
    return _Path(poses, actions)


def _walked(scene: ZonedScene, model: WorldModel, paths: list[_Path], beginning: int) -> Walks:
    poses = [pose for path in paths for pose in path.poses]
    where = torch.from_numpy(pose_array(poses))
    images = look(scene, poses, range(beginning, beginning + len(poses)))
    shape = (len(paths), -1)
    embeddings = encode(model, images, where)
    actions = torch.tensor([path.actions for path in paths])
    return Walks(embeddings.reshape(*shape, embeddings.shape[1]), where.reshape(*shape, 3), actions)
