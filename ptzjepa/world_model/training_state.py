"""What a training run needs to go on after it was killed: one safetensors file, written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ptzjepa.run_directory import write_atomically
from shared.errors import UserError
from shared.world_model import load_tensors, save_tensors
from world_model_trainer.state import put_back, tensors_of
from world_model_trainer.training import Trainer

FORMAT = "ptzjepa-training-state-1"
STATE, MODEL, LOCK = "state.safetensors", "model.safetensors", ".training.lock"


def save_state(path: Path, trainer: Trainer, card: dict[str, Any]) -> None:
    """Write weights, optimiser moments, torch's random state, and a card of the rest."""
    write_atomically(path, save_tensors(tensors_of(trainer), {"format": FORMAT, **card}))


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
        put_back(tensors, trainer)
    except ValueError as error:
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


def _broken(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{path} cannot be gone on from ({reason}); move its folder away, or give another --out")
