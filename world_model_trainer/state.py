"""Everything that training needs to go on from the very step: a safetensors file with a JSON card, beside the replay.

It belongs to one version of the world model's head. Weights alone come from the model store; this file adds the
optimiser's moments, the objective's own networks, the random states and the counts, and what was learnt since the head.
It is written under another name and then moved: a kill leaves the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from shared.errors import UserError
from shared.leases import ModelVersion
from shared.whole_files import write_whole
from shared.world_model import WorldModel, WorldModelConfig, load_tensors, save_tensors
from world_model_trainer.objectives import ObjectiveConfig, build_objective
from world_model_trainer.plateau import PlateauState
from world_model_trainer.progress import Counts
from world_model_trainer.team import Team
from world_model_trainer.training import Trainer, TrainingConfig

FORMAT = "ptzjepa-training-state-1"
_MODEL, _OBJECTIVE, _OPTIMIZER, _RANDOM = "model.", "objective.", "optimizer.", "random."


class StateCard(BaseModel):
    """What of a training state is no tensor."""

    format: str = FORMAT
    world_model: str
    head: str | None = None
    """SHA-256 of the head that was trained on; None before the first."""
    committing: str | None = None
    """SHA-256 of weights that were about to become the head when this was written."""
    networks: dict[str, Any]
    objective: dict[str, Any]
    training_config: dict[str, Any]
    steps: int
    steps_before: int
    counts: Counts = Counts()
    plateau: PlateauState = PlateauState()

    def belongs_to(self, world_model: str, head: ModelVersion | None) -> bool:
        """Tell whether nobody else has moved the head since this was written."""
        found = head.checkpoint.sha256 if head is not None else None
        return self.world_model == world_model and found in (self.head, self.committing or self.head)


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    """Return all that training goes on from: weights, the objective's networks, moments, random states."""
    tensors: dict[str, Tensor] = {f"{_RANDOM}cpu": torch.random.get_rng_state()}
    if trainer.device.type == "cuda":
        tensors[f"{_RANDOM}cuda"] = torch.cuda.get_rng_state(trainer.device)
    for prefix, module in ((_MODEL, trainer.model), (_OBJECTIVE, trainer.objective)):
        # Copied: tensors that share their memory cannot be stored beside each other.
        tensors.update({prefix + name: tensor.clone() for name, tensor in module.state_dict().items()})
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        tensors.update({f"{_OPTIMIZER}{index}.{name}": torch.as_tensor(value) for name, value in moments.items()})
    return tensors


def put_back(tensors: Mapping[str, Tensor], trainer: Trainer) -> None:
    """Put a trainer where ``tensors_of`` found one. ``ValueError`` where a tensor is missing or does not fit."""
    try:
        trainer.model.load_state_dict(_under(tensors, _MODEL), strict=True)
        trainer.objective.load_state_dict(_under(tensors, _OBJECTIVE), strict=True)
        groups = trainer.optimizer.state_dict()["param_groups"]
        trainer.optimizer.load_state_dict({"state": _moments(tensors), "param_groups": groups})
        torch.random.set_rng_state(tensors[f"{_RANDOM}cpu"])
        if trainer.device.type == "cuda" and f"{_RANDOM}cuda" in tensors:
            torch.cuda.set_rng_state(tensors[f"{_RANDOM}cuda"], trainer.device)
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"it does not fit: {' '.join(str(error).split())[:200]}") from error


def pack_state(trainer: Trainer, card: StateCard) -> bytes:
    """Pack a trainer with its card into the bytes of one safetensors file."""
    return save_tensors(tensors_of(trainer), card.model_dump(mode="json"))


def new_card(trainer: Trainer, world_model: str, **fields: Any) -> StateCard:
    """Describe a trainer as it is now."""
    return StateCard(
        world_model=world_model,
        networks=trainer.model.config.model_dump(mode="json"),
        objective=trainer.objective.config.model_dump(mode="json"),
        training_config=trainer.config.model_dump(mode="json"),
        steps=trainer.steps,
        steps_before=trainer.steps_before,
        **fields,
    )


def read_card(data: bytes) -> tuple[dict[str, Tensor], StateCard]:
    """Unpack a training state. ``ValueError`` with the reason if the bytes are none."""
    tensors, card = load_tensors(data)
    try:
        state = StateCard.model_validate(card)
    except ValidationError as error:
        raise ValueError(f"the card does not fit: {' '.join(str(error).split())[:200]}") from error
    if state.format != FORMAT:
        raise ValueError(f"format is {state.format!r}, not {FORMAT!r}")
    return tensors, state


def restore(
    tensors: Mapping[str, Tensor],
    card: StateCard,
    *,
    device: torch.device,
    config: TrainingConfig | None = None,
    team: Team | None = None,
) -> Trainer:
    """Build the trainer that ``pack_state`` packed, with today's training configuration if one is given.

    ``ValueError`` where a tensor is missing or does not fit: there is no partial restoration.
    """
    try:
        model = WorldModel(WorldModelConfig.model_validate(card.networks))
        config = config or TrainingConfig.model_validate(card.training_config)
        objective = build_objective(model.config, ObjectiveConfig.model_validate(card.objective))
    except ValueError as error:
        raise ValueError(f"it does not fit: {' '.join(str(error).split())[:200]}") from error
    trainer = Trainer(model, config, device=device, objective=objective, team=team)
    put_back(tensors, trainer)
    trainer.steps, trainer.steps_before = card.steps, card.steps_before
    return trainer


class StateFile:
    """Where the training state of one world model lies on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, data: bytes) -> None:
        """Put a state in the place of the former one, whole or not at all."""
        try:
            write_whole(self.path, data)
        except OSError as error:
            raise UserError(f"training state {self.path}: {error.strerror or error}; make room there") from error

    def read(self) -> tuple[dict[str, Tensor], StateCard] | None:
        """Return the state, None where there is none. ``ValueError`` with the reason where it cannot be used."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        return read_card(data)

    def discard(self) -> None:
        """Remove the state."""
        self.path.unlink(missing_ok=True)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, _OPTIMIZER).items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = tensor
    return moments
