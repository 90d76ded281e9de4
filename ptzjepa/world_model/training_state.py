"""What a training run needs to go on after it was killed: one safetensors file, written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptzjepa.run_directory import write_atomically
from shared.errors import UserError
from shared.world_model import load_tensors, save_tensors
from world_model_trainer.training import Trainer

FORMAT = "ptzjepa-training-state-1"
STATE, MODEL, LOCK = "state.safetensors", "model.safetensors", ".training.lock"
_MODEL, _OBJECTIVE, _OPTIMIZER, _RANDOM = "model.", "objective.", "optimizer.", "random"


def save_state(path: Path, trainer: Trainer, card: dict[str, Any]) -> None:
    """Write weights, optimiser moments, torch's random state, and a card of the rest."""
    tensors: dict[str, Tensor] = {_RANDOM: torch.random.get_rng_state()}
    for prefix, module in ((_MODEL, trainer.model), (_OBJECTIVE, trainer.objective)):
        tensors.update({prefix + name: tensor.clone() for name, tensor in module.state_dict().items()})
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        tensors.update({f"{_OPTIMIZER}{index}.{name}": torch.as_tensor(value) for name, value in moments.items()})
    write_atomically(path, save_tensors(tensors, {"format": FORMAT, **card}))


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_state`` wrote. ``UserError`` where it is anything else: nobody starts anew over it."""
    try:
        tensors, card = load_tensors(path.read_bytes())
        if card.get("format") != FORMAT:
            raise ValueError(f"its format is {card.get('format')!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise _broken(path, error) from error
    return tensors, card


def restore(path: Path, tensors: dict[str, Tensor], trainer: Trainer, steps: int) -> None:
    """Put a trainer where ``save_state`` found one. ``UserError`` where a tensor is missing or does not fit."""
    try:
        trainer.model.load_state_dict(_under(tensors, _MODEL), strict=True)
        trainer.objective.load_state_dict(_under(tensors, _OBJECTIVE), strict=True)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, _OPTIMIZER).items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        groups = trainer.optimizer.state_dict()["param_groups"]
        trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.random.set_rng_state(tensors[_RANDOM])
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise _broken(path, error) from error
    trainer.steps = steps


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Own a training run's directory. ``UserError`` where it cannot be written, or another run is at it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another run trains in {directory}: wait for it, or give another --out") from error
            yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"output folder {directory}: cannot write there ({reason}); give another --out") from error


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _broken(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{path} cannot be gone on from ({reason}); move its folder away, or give another --out")
