"""The head that read moves while a world model was trained: it lies beside the model, for evaluations to go on from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ptzjepa.run_directory import write_atomically
from shared.errors import UserError
from shared.world_model import WorldModel, load_tensors, save_tensors
from world_model_trainer.correspondence import Correspondence
from world_model_trainer.objectives.motion import Motion

FORMAT = "ptzjepa-motion-head-1"
HEAD = "motion.safetensors"


def save_head(directory: Path, objective: nn.Module) -> None:
    """Write the head of the objective's ``motion``, if it has one."""
    for part in objective.modules():
        if isinstance(part, Motion):
            write_atomically(directory / HEAD, save_tensors(part.head.state_dict(), {"format": FORMAT}))


def load_head(directory: Path, model: WorldModel) -> Correspondence | None:
    """Return the head that a training folder holds; None where nobody read moves there.

    ``UserError`` where it is damaged or another model's.
    """
    file = directory / HEAD
    if not file.exists():
        return None
    try:
        tensors, card = load_tensors(file.read_bytes())
        if card.get("format") != FORMAT:
            raise ValueError(f"its format is {card.get('format')!r}")
        head = Correspondence(model.encoder.tokens, model.encoder.token_width)
        head.load_state_dict(tensors)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file} cannot be read ({reason}); remove it to have a new head trained") from error
    return head
