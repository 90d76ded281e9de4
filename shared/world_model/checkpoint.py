"""Weights as safetensors with a JSON card inside: nothing that crosses a process is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig
from shared.world_model.external import ExternalEncoder, digest
from shared.world_model.model import WorldModel

FORMAT = "ptzjepa-world-model-2"
_OLD_FORMATS = ("ptzjepa-world-model-1",)
_EXTERNAL = "encoder.network."
_CARD = "card"


def save_tensors(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> bytes:
    """Pack tensors and a JSON card into the bytes of one safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(contiguous, {_CARD: json.dumps(card, sort_keys=True, allow_nan=False)})


def load_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Unpack what ``save_tensors`` packed. ``ValueError`` with the reason if the bytes are not such a file."""
    try:
        tensors = safetensors.torch.load(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"not a safetensors file: {error}") from error
    try:
        card = json.loads(metadata[_CARD])
    except (KeyError, ValueError) as error:
        raise ValueError("the file has no card") from error
    return tensors, card


def save_checkpoint(model: WorldModel, card: Mapping[str, Any], *, with_external: bool = False) -> bytes:
    """Pack a world model's weights and its card, its configuration with the preset, and what it learnt by.

    Refuses weights that are not finite. Of an external encoder only the name and a digest are kept, unless its weights
    are asked for.
    """
    weights = model.state_dict()
    if not with_external:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_EXTERNAL)}
    _check_finite(weights)
    outer = {
        "format": FORMAT,
        "preset": model.config.preset,
        "objective": model.learnt_by,
        "config": model.config.model_dump(mode="json"),
        "card": dict(card),
    }
    if isinstance(model.encoder, ExternalEncoder):
        outer["external"] = {"digest": digest(model.encoder.network), "included": with_external}
    return save_tensors(weights, outer)


def load_checkpoint(data: bytes, *, external: nn.Module | None = None) -> tuple[WorldModel, dict[str, Any]]:
    """Build the world model that ``save_checkpoint`` packed and return it with its card.

    Every weight must be there, of the right shape, and finite: ``ValueError`` says what is not. There is no partial
    load, and never a model with random weights in place of missing ones. A world model with an external encoder must be
    given that very encoder (``external``), or one of its shape if the checkpoint holds the weights.
    """
    tensors, outer = load_tensors(data)
    if outer.get("format") in _OLD_FORMATS:
        raise ValueError(f"format is {outer['format']!r}, of networks that are no more: train a new world model")
    if outer.get("format") != FORMAT:
        raise ValueError(f"format is {outer.get('format')!r}, not {FORMAT!r}")
    try:
        config = WorldModelConfig.model_validate(outer["config"])
    except (KeyError, ValidationError) as error:
        raise ValueError(f"configuration does not fit: {error}") from error
    _check_finite(tensors)
    model = WorldModel(config, external=external)
    if isinstance(model.encoder, ExternalEncoder):
        tensors = _with_external(tensors, model.encoder.network, config.external, outer)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"weights do not fit: {' '.join(str(error).split())[:300]}") from error
    model.learnt_by = str(outer.get("objective", ""))
    card: dict[str, Any] = outer.get("card", {})
    return model, card


def _with_external(
    tensors: Mapping[str, Tensor], network: nn.Module, name: str, outer: Mapping[str, Any]
) -> dict[str, Tensor]:
    stored = outer.get("external", {})
    if stored.get("included"):
        return dict(tensors)
    if stored.get("digest") != digest(network):
        raise ValueError(f"the external encoder that was given is not the {name!r} that this world model learnt with")
    return {**tensors, **{_EXTERNAL + key: tensor for key, tensor in network.state_dict().items()}}


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"weights are not finite: {name}")


def _metadata(data: bytes) -> dict[str, str]:
    # The header is a little-endian length and that much JSON; safetensors.torch.load has validated it already.
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return dict(header.get("__metadata__", {}))
