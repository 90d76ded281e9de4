"""``ptzjepa world-model evaluate``: what a trained world model knows, beside its floors, as tables and as JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from camera_sampler.simulation.renderer import FIELD_OF_VIEW
from ptzjepa.world_model.fresh_walks import overlays
from ptzjepa.world_model.motion_head import load_head
from ptzjepa.world_model.scenes import Rendered, Sizes, Source
from ptzjepa.world_model.stored import stored_place
from ptzjepa.world_model.training_state import MODEL
from shared.errors import UserError
from shared.world_model import WorldModel, load_checkpoint
from world_model_trainer.correspondence import Correspondence
from world_model_trainer.evaluation import Place, evaluate_place, headline, overlay_loss
from world_model_trainer.evaluation.encoding import tokens_of, untrained
from world_model_trainer.evaluation.relative_pose import (
    LEAST_SCENES,
    Pairs,
    encode_pairs,
    half_mirrored,
    mirrored,
    relative_pose,
)

FORMAT = "ptzjepa-evaluation-1"
FIT_SHARE = 0.6
"""Of the scenes for relative pose, those that its head is trained on, six at least."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What the user asks of an evaluation. ``transfer``: the scenes of relative pose; ``overlaid``: the model that was
    trained under an overlay, to compare with.
    """

    model: Path
    sources: tuple[Source, ...] = ()
    views: tuple[Path, ...] = ()
    transfer: tuple[Source, ...] = ()
    overlaid: Path | None = None
    seed: int = 0
    quick: bool = False
    threads: int = 1
    field_of_view: float = FIELD_OF_VIEW
    camera: str = ""
    stored_views: int | None = None


def load_model(path: Path) -> tuple[WorldModel, dict[str, Any], Path]:
    """Load the model that a file or a training folder holds, with its card. ``UserError`` where there is none."""
    file = path / MODEL if path.is_dir() else path
    try:
        model, card = load_checkpoint(file.read_bytes())
    except OSError as error:
        raise UserError(f"--model {file}: {error.strerror or error}; give what `world-model train` wrote") from error
    except ValueError as error:
        raise UserError(f"--model {file}: {error}; give a sound world model") from error
    return model.eval().requires_grad_(False), card, file


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure everything that was asked for; the headline lies on top, details by place below it."""
    _check(options)
    torch.set_num_threads(options.threads)
    model, card, file = load_model(options.model)
    run = card.get("run", {})
    seen = {each["digest"] for each in run.get("data", [])}
    sizes = Sizes().quick() if options.quick else Sizes()
    if options.stored_views is not None:
        sizes = replace(sizes, earlier=options.stored_views)
    twin = _overlaid_twin(options, model, run)
    places, losses = {}, []
    for place in _places(options, model, run, sizes):
        _say(f"{place.name}: measuring")
        places[place.name] = evaluate_place(model, place, options.seed, mlp_steps=sizes.mlp_steps)
    for source in options.sources:
        if twin is None:
            break
        _say(f"{source.name}: comparing with the model trained under an overlay")
        place = Rendered(source, model.config.image_size, options.seed, sizes).place()
        losses.append(overlay_loss(model, twin, place, overlays(1, model.config.image_size)[0], options.seed))
    heads = {"model": load_head(file.parent, model), "random": None}
    relative = _relative(options, model, heads, seen, sizes)
    for source in options.sources:
        places[source.name]["trained_here"] = source.digest in seen
    found = headline(places, relative, losses)
    return {
        **found,
        "headline": list(found),
        "format": FORMAT,
        "model": str(file),
        "card": card,
        "seed": options.seed,
        "quick": options.quick,
        "places": places,
        "relative": relative,
        "overlay": losses,
    }


def _overlaid_twin(options: EvaluateOptions, model: WorldModel, run: dict[str, Any]) -> WorldModel | None:
    """Load the model trained under an overlay, if one was named. ``UserError`` unless it is the other's twin."""
    if options.overlaid is None:
        return None
    overlaid, card, _ = load_model(options.overlaid)
    if overlaid.config != model.config or run.get("cameras") != 0 or card.get("run", {}).get("cameras") != 1:
        raise UserError(
            f"--overlaid {options.overlaid}: must be trained with --cameras 1, and --model the same way but without"
        )
    return overlaid


def _check(options: EvaluateOptions) -> None:
    if not options.sources and not options.views and not options.transfer:
        raise UserError("nothing to evaluate on: give --panorama, --generated, --views or --transfer")
    if options.overlaid and not options.sources:
        raise UserError("--overlaid needs --panorama or --generated to compare the two models on")
    check_transfer(options.transfer)
    if not (math.isfinite(options.field_of_view) and 1.0 <= options.field_of_view <= 170.0):
        raise UserError(f"--field-of-view {options.field_of_view:g}: must be from 1 to 170 degrees")
    for source in (*options.sources, *options.transfer):
        if source.panorama is not None:
            source.open()


def check_transfer(scenes: Sequence[Source]) -> None:
    """Raise ``UserError`` unless there are no scenes for relative pose, or enough."""
    if 0 < len(scenes) <= LEAST_SCENES:
        raise UserError(
            f"--transfer: {len(scenes)} different panoramas; give {LEAST_SCENES + 1} or more, "
            f"{LEAST_SCENES} of which train the head"
        )


def _places(options: EvaluateOptions, model: WorldModel, run: dict[str, Any], sizes: Sizes) -> Iterator[Place]:
    size = model.config.image_size
    # A model that was trained under an overlay is at home under it.
    overlay = overlays(1, size)[0] if run.get("cameras") else None
    # What may turn out to be wrong comes before what takes long.
    for path in options.views:
        yield stored_place(path, size, options.field_of_view, options.camera)
    for source in options.sources:
        _say(f"{source.name}: rendering")
        yield Rendered(source, size, options.seed, sizes, overlay).place()


def split_scenes(scenes: Sequence[Source], seen: set[str], seed: int) -> tuple[list[Source], list[Source]]:
    """Split scenes into those that the head is trained on and those it is judged on, which the model never saw."""
    order = np.random.default_rng(seed).permutation(len(scenes))
    # What the model was trained on comes first, so that it can only ever train the head.
    shuffled = sorted((scenes[index] for index in order), key=lambda scene: scene.digest not in seen)
    fit = max(LEAST_SCENES, math.ceil(FIT_SHARE * len(scenes)), sum(scene.digest in seen for scene in scenes))
    return shuffled[:fit], shuffled[fit:]


def _relative(
    options: EvaluateOptions, model: WorldModel, heads: dict[str, Correspondence | None], seen: set[str], sizes: Sizes
) -> dict[str, Any] | None:
    if not options.transfer:
        return None
    fit, unseen = split_scenes(options.transfer, seen, options.seed)
    if not unseen:
        raise UserError("--transfer: the model was trained on so many of these that none is left; give others")
    found: dict[str, Any] = {"fit": [each.name for each in fit], "unseen": [each.name for each in unseen]}
    models, size = {"model": model, "random": untrained(model.config, options.seed)}, model.config.image_size
    for name, each in models.items():
        _say(f"relative pose, {name}: {len(fit)} scenes to {len(unseen)} others")
        encoder, few = tokens_of(each), max(50, sizes.pairs // 3)
        known = encode_pairs(encoder, map(half_mirrored, _pairs(fit, options, size, sizes.pairs, 0)))
        new = encode_pairs(encoder, _pairs(unseen, options, size, few, 1))
        in_mirror = encode_pairs(encoder, map(mirrored, _pairs(unseen, options, size, few, 1)))
        found[name] = relative_pose(
            known, new, options.seed, in_mirror=in_mirror, steps=sizes.head_steps, head=heads[name]
        )
    found["pairs"] = sizes.pairs * len(fit)
    found["goes_on_from_training"] = heads["model"] is not None
    return found


def _pairs(scenes: Sequence[Source], options: EvaluateOptions, size: int, count: int, purpose: int) -> Iterator[Pairs]:
    for number, source in enumerate(scenes):
        generator = np.random.default_rng((options.seed, 3_000_017, purpose, number))
        yield Rendered(source, size, options.seed, Sizes()).pairs(generator, count)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
