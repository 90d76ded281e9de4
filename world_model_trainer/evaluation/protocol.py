"""The protocol: everything that is measured of one world model in one place, each beside its floors.

Returns plain numbers by name, ready for JSON. Nothing here renders or reads files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from shared.world_model import WorldModel
from world_model_trainer.evaluation import loops, open_loop, spread
from world_model_trainer.evaluation.encoding import embedding_of, encode, encode_chunks, encode_walks, untrained
from world_model_trainer.evaluation.lookup import PoseLookup
from world_model_trainer.evaluation.nuisance import Overlay, camera_identity, make_overlay
from world_model_trainer.evaluation.pose_probe import (
    MLP_STEPS,
    Predict,
    linear_probe,
    mlp_probe,
    score,
    shuffled_probe,
)
from world_model_trainer.evaluation.retrieval import ranks, ranks_among
from world_model_trainer.evaluation.views import Place, Views
from world_model_trainer.evaluation.warp import warp

LOOPS = 64
"""Walks whose beginnings dreams of loops start from."""

Measured = dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """One encoder's embeddings of a place: ``fit [N, D]``, ``held_out [M, D]``, ``walks [B, T+1, D]``."""

    fit: Tensor
    held_out: Tensor
    walks: Tensor


@torch.no_grad()
def evaluate_place(model: WorldModel, place: Place, seed: int, *, mlp_steps: int = MLP_STEPS) -> Measured:
    """Measure a world model in one place. The same seed gives the same numbers on the same machine."""
    floor = untrained(model.config, seed)
    ours, random = _encode_place(model, place), _encode_place(floor, place)
    stored_poses, stored = encode_chunks(embedding_of(model), place.earlier)
    lookup = PoseLookup(stored_poses, stored)
    probe = linear_probe(ours.fit, place.fit.poses)
    measured: Measured = {
        "kind": place.kind,
        "views": {
            "fit": len(place.fit),
            "held_out": len(place.held_out),
            "walks": len(place.walks),
            "moves": place.walks.moves,
            "lookup": len(lookup),
        },
        "probe": _probes(probe, ours, random, place, seed, mlp_steps),
        "spread": {"model": _spread(ours), "random": _spread(random)},
        "open_loop": _open_loop(model, ours.walks, place, lookup, seed),
        "retrieval": _retrieval(model, ours.walks, place, lookup, random.walks),
        "loops": _loops(model, ours, place, lookup),
        "nuisance": _nuisance(model, ours, place, probe),
    }
    measured["probe"]["on_dreams"] = _probe_on_dreams(model, probe, ours.walks, place)
    measured["open_loop"]["untrained_vs_copy_last"] = open_loop.curve(
        open_loop.errors(open_loop.dream(floor, random.walks, place.walks), random.walks[:, 1:]),
        open_loop.errors(open_loop.copy_last(random.walks), random.walks[:, 1:]),
    )
    return measured


@torch.no_grad()
def overlay_loss(clean: WorldModel, overlaid: WorldModel, place: Place, overlay: Overlay, seed: int) -> Measured:
    """Compare a model trained and probed without an overlay with one trained and probed under it.

    ``place`` is clean. ``drop`` is the linear R² lost, mean over pan, tilt and zoom; ``random_drop`` what an untrained
    encoder loses.
    """
    floor = untrained(clean.config, seed)
    asked = {
        "clean": (clean, _as_it_is),
        "overlaid": (overlaid, overlay.on),
        "random_clean": (floor, _as_it_is),
        "random_overlaid": (floor, overlay.on),
    }
    scores = {}
    for name, (model, covered) in asked.items():
        fit = encode(embedding_of(model), covered(place.fit.images))
        held_out = encode(embedding_of(model), covered(place.held_out.images))
        probe = linear_probe(fit, place.fit.poses)
        scores[name] = score(probe, held_out, place.held_out.poses, place.field_of_view)
    return {
        "drop": scores["clean"].mean - scores["overlaid"].mean,
        "random_drop": scores["random_clean"].mean - scores["random_overlaid"].mean,
        **{name: asdict(found) for name, found in scores.items()},
    }


def _as_it_is(images: Tensor) -> Tensor:
    return images


def _encode_place(model: WorldModel, place: Place) -> Encoded:
    encoder = embedding_of(model)
    return Encoded(
        encode(encoder, place.fit.images),
        encode(encoder, place.held_out.images),
        encode_walks(encoder, place.walks),
    )


def _probes(probe: Predict, ours: Encoded, random: Encoded, place: Place, seed: int, mlp_steps: int) -> Measured:
    poses = place.fit.poses
    judged = {
        "linear": (probe, ours),
        "mlp": (mlp_probe(ours.fit, poses, seed, steps=mlp_steps), ours),
        "random_linear": (linear_probe(random.fit, poses), random),
        "random_mlp": (mlp_probe(random.fit, poses, seed, steps=mlp_steps), random),
        "shuffled": (shuffled_probe(ours.fit, poses, seed), ours),
    }
    return {
        name: asdict(score(predict, encoded.held_out, place.held_out.poses, place.field_of_view))
        for name, (predict, encoded) in judged.items()
    }


def _probe_on_dreams(model: WorldModel, probe: Predict, walks: Tensor, place: Place) -> Measured:
    dreamt = open_loop.dream(model, walks, place.walks)
    found = {}
    for step in open_loop.STEPS:
        if step <= place.walks.moves:
            scores = score(probe, dreamt[:, step - 1], place.walks.poses[:, step], place.field_of_view)
            found[str(step)] = asdict(scores)
    return found


def _spread(encoded: Encoded) -> Measured:
    deviation = spread.deviation(encoded.held_out)
    return {
        "dimensions": encoded.held_out.shape[1],
        "effective_rank": spread.effective_rank(encoded.held_out),
        "rank_me": spread.rank_me(encoded.held_out),
        "deviation": float(deviation.mean()),
        "least_deviation": float(deviation.min()),
        "within_between": spread.within_between(encoded.walks),
    }


def _warped(model: WorldModel, place: Place, step: int) -> tuple[Tensor, Tensor]:
    """Return the embeddings ``[B, D]`` of the first views warped to the pose after ``step`` moves, and the overlap."""
    walks = place.walks
    first, then = walks.poses[:, 0], walks.poses[:, step]
    pictures, share = warp(walks.images[:, 0], first, then, place.field_of_view, place.aspect)
    return encode(embedding_of(model), pictures), share


def _open_loop(model: WorldModel, walks: Tensor, place: Place, lookup: PoseLookup, seed: int) -> Measured:
    true = walks[:, 1:]
    ours = open_loop.errors(open_loop.dream(model, walks, place.walks), true)
    copied = open_loop.errors(open_loop.copy_last(walks), true)
    looked_up = open_loop.errors(lookup(place.walks.poses[:, 1:]), true)
    warped, overlapping = torch.zeros_like(ours), torch.zeros(ours.shape, dtype=torch.bool)
    for step in open_loop.STEPS:
        if step <= place.walks.moves:
            embeddings, share = _warped(model, place, step)
            warped[:, step - 1] = open_loop.errors(embeddings, true[:, step - 1])
            overlapping[:, step - 1] = share >= open_loop.LEAST_OVERLAP
    return {
        "vs_copy_last": open_loop.curve(ours, copied),
        "vs_lookup": open_loop.curve(ours, looked_up),
        "vs_warp": open_loop.curve(ours, warped, overlapping),
        "lookup_vs_copy_last": open_loop.curve(looked_up, copied),
        "warp_vs_copy_last": open_loop.curve(warped, copied, overlapping),
        "overlapping": {
            str(step): float(overlapping[:, step - 1].float().mean())
            for step in open_loop.STEPS
            if step <= place.walks.moves
        },
        "least_overlap": open_loop.LEAST_OVERLAP,
        "shuffled_action": open_loop.shuffled_action_ratio(model, walks, place.walks, seed),
    }


def _retrieval(model: WorldModel, walks: Tensor, place: Place, lookup: PoseLookup, random: Tensor) -> Measured:
    queries = {
        "model": open_loop.dream(model, walks, place.walks)[:, 0],
        "copy_last": walks[:, 0],
        "lookup": lookup(place.walks.poses[:, 1]),
        "warp": _warped(model, place, 1)[0],
    }
    found: Measured = {name: asdict(ranks(query, walks[:, 1])) for name, query in queries.items()}
    found["random"] = asdict(ranks(random[:, 0], random[:, 1]))
    found["among"] = len(walks)
    if place.hard is not None:
        hard = encode(embedding_of(model), place.hard.flatten(0, 1)).reshape(*place.hard.shape[:2], -1)
        found["hard"] = {name: asdict(ranks_among(query, walks[:, 1], hard)) for name, query in queries.items()}
        found["hard"]["among"] = 1 + place.hard.shape[1]
    return found


def _loops(model: WorldModel, ours: Encoded, place: Place, lookup: PoseLookup) -> Measured:
    unit = spread.mean_distance(ours.held_out)
    starts, poses = ours.walks[:LOOPS, 0], place.walks.poses[:LOOPS]
    found: Measured = {
        "pairwise_distance": unit,
        "turn": loops.closure(model, starts, loops.turn(poses[:, 0]), unit),
        "out_and_back": loops.closure(model, starts, loops.out_and_back(poses, place.walks.actions[:LOOPS]), unit),
        "zoom_in_and_out": loops.closure(model, starts, loops.zoom_in_and_out(poses[:, 0]), unit),
    }
    if place.circles is not None:
        circles = encode_walks(embedding_of(model), place.circles)
        path = loops.turn(place.circles.poses[:, 0])
        answer = lookup(path.poses[:, 1:])
        found["turn"] = loops.closure(model, circles[:, 0], path, unit)
        found["turn_off_on_the_way"] = loops.way_error(model, circles, path, unit)
        found["copy_last_off_on_the_way"] = loops.distance(open_loop.copy_last(circles), circles[:, 1:], unit)
        found["lookup_turn"] = loops.distance(answer[:, -1], circles[:, 0], unit)
        found["lookup_off_on_the_way"] = loops.distance(answer, circles[:, 1:], unit)
    return found


def _nuisance(model: WorldModel, ours: Encoded, place: Place, probe: Predict) -> Measured:
    encoder, size = embedding_of(model), place.fit.images.shape[-1]
    overlays = [make_overlay(size, seed) for seed in (1, 2)]
    covered = encode(encoder, overlays[0].on(place.held_out.images))
    clean = score(probe, ours.held_out, place.held_out.poses, place.field_of_view)
    under = score(probe, covered, place.held_out.poses, place.field_of_view)
    (fit, fit_cameras), (held_out, held_out_cameras) = (
        _two_cameras(views, overlays) for views in (place.fit, place.held_out)
    )
    mixed, mixed_held_out = encode(encoder, fit), encode(encoder, held_out)
    mixed_probe = linear_probe(mixed, place.fit.poses)
    found: Measured = {
        "overlay_zero_shot": {**asdict(under), "drop": clean.mean - under.mean},
        "camera": asdict(camera_identity(mixed, fit_cameras, mixed_held_out, held_out_cameras, mixed_probe)),
        "night": None,
    }
    if place.day_and_night is not None:
        day = linear_probe(encode(encoder, place.day_and_night.day.images), place.day_and_night.day.poses)
        scores = {
            name: score(day, encode(encoder, views.images), views.poses, place.field_of_view)
            for name, views in (("day", place.day_and_night.day_held_out), ("night", place.day_and_night.night))
        }
        found["night"] = {
            **{name: asdict(each) for name, each in scores.items()},
            "drop": scores["day"].mean - scores["night"].mean,
        }
    return found


def _two_cameras(views: Views, overlays: list[Overlay]) -> tuple[Tensor, Tensor]:
    """Give every other view to a second camera, each camera with an overlay of its own."""
    cameras = torch.arange(len(views)) % 2
    chosen = (cameras == 1)[:, None, None, None]
    return torch.where(chosen, overlays[1].on(views.images), overlays[0].on(views.images)), cameras
