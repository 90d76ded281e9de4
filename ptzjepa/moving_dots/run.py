"""One run: train by a recipe, probe, plan; its result as one dictionary."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ptzjepa.moving_dots.config import TrainConfig
from ptzjepa.moving_dots.recipe import Recipe, recipe
from ptzjepa.run_directory import write_atomically
from shared.errors import UserError
from shared.world_model import load_tensors, pick_device, save_tensors
from world_model_trainer.laboratory.moving_dots.backgrounds import Backgrounds, from_folder, textures
from world_model_trainer.laboratory.moving_dots.data import MovingDots
from world_model_trainer.laboratory.moving_dots.methods import build
from world_model_trainer.laboratory.moving_dots.networks import DotsModel
from world_model_trainer.laboratory.moving_dots.planning import probe_mpc
from world_model_trainer.laboratory.moving_dots.probing import probe
from world_model_trainer.laboratory.moving_dots.training import DivergedError, train

FORMAT = "ptzjepa-moving-dots-1"
_VALIDATION = 1_000_003
"""Added to the seed for dots that are drawn to probe."""

Told = Callable[[int, int, dict[str, float]], None]
"""Hears of steps taken, of steps in all, and of the last step's terms."""


def run(config: TrainConfig, tell: Told = lambda step, steps, terms: None) -> dict[str, Any]:
    """Train and probe one model. ``UserError`` where the options or a file are wrong, or training diverges."""
    plan = recipe(config)
    device = pick_device()
    learnt_on, judged_on = (
        _pictures(config.dataset_structured_noise_path) if config.dataset_structured_noise else (None, None)
    )
    torch.manual_seed(config.seed)
    try:
        model, objective = build(plan.method, plan.networks, weights=plan.weights, **plan.options)
    except ValueError as error:
        raise UserError(str(error)) from error
    model.to(device)
    objective.to(device)
    if config.load_checkpoint_path:
        _load(model, Path(config.load_checkpoint_path))
    dots = MovingDots(plan.dots, config.seed, backgrounds=learnt_on, device=device)
    began = time.process_time()
    if not (config.eval_only and plan.method != "supervised"):
        try:
            train(model, objective, dots, plan.learning, lambda step, terms: tell(step, plan.learning.steps, terms))
        except DivergedError as error:
            raise UserError(f"training failed: {error}; try a lower learning rate") from error
    trained = time.process_time() - began
    fresh = MovingDots(plan.dots, config.seed + _VALIDATION, backgrounds=judged_on, device=device)
    result = {"format": FORMAT, "method": plan.method, **probe(model, fresh, config.val_dataset_size)}
    if config.probe_mpc:
        result["probe_mpc"] = probe_mpc(model, fresh, config.eval_mpcs, config.val_dataset_size)
    result["card"] = _card(config, plan, model, device, trained, time.process_time() - began)
    if config.output_path:
        write_atomically(Path(config.output_path), save_tensors(dict(model.state_dict()), {"format": FORMAT}))
    return result


def _card(
    config: TrainConfig, plan: Recipe, model: DotsModel, device: torch.device, trained: float, spent: float
) -> dict[str, Any]:
    learnt = plan.learning if plan.method != "random" else None
    return {
        "options": config.model_dump(mode="json"),
        "steps": learnt.steps if learnt else 0,
        "trajectories": learnt.steps * learnt.batch if learnt else 0,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "train_cpu_seconds": round(trained, 2),
        "cpu_seconds": round(spent, 2),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "torch": torch.__version__,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


@cache
def _pictures(folder: str | None) -> tuple[Backgrounds, Backgrounds]:
    """Return pictures for training and for validation, of a folder or textures; made once a process."""
    return (textures() if folder is None else from_folder(Path(folder))).split()


def _load(model: DotsModel, path: Path) -> None:
    try:
        tensors, card = load_tensors(path.read_bytes())
        if card.get("format") != FORMAT:
            raise ValueError(f"its format is {card.get('format')!r}")
        model.load_state_dict(tensors)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise UserError(f"load_checkpoint_path={path}: {reason}") from error
