"""The head that read moves lies beside the model, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptzjepa.world_model.choices import make_objective, networks
from ptzjepa.world_model.motion_head import HEAD, load_head, save_head
from shared.errors import UserError
from shared.world_model import WorldModel
from world_model_trainer.objectives.motion import Motion


def test_the_head_comes_back_as_it_was(tmp_path: Path) -> None:
    config = networks("tiny", "vicreg+motion")
    model, objective = WorldModel(config), make_objective("vicreg+motion", config)
    objective.attach(model)
    save_head(tmp_path, objective)
    found = load_head(tmp_path, model)
    assert found is not None
    maps = torch.randn(2, 3, model.encoder.tokens, model.encoder.token_width)
    (motion,) = (part for part in objective.modules() if isinstance(part, Motion))
    assert torch.equal(found(*maps), motion.head(*maps))


def test_without_motion_there_is_no_head(tmp_path: Path) -> None:
    config = networks("tiny", "vicreg")
    model, objective = WorldModel(config), make_objective("vicreg", config)
    objective.attach(model)
    save_head(tmp_path, objective)
    assert list(tmp_path.iterdir()) == []
    assert load_head(tmp_path, model) is None


def test_a_damaged_head_is_refused_by_name(tmp_path: Path) -> None:
    config = networks("tiny", "vicreg+motion")
    model, objective = WorldModel(config), make_objective("vicreg+motion", config)
    objective.attach(model)
    save_head(tmp_path, objective)
    file = tmp_path / HEAD
    whole = file.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"nothing of the kind"):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=HEAD):
            load_head(tmp_path, model)
    file.write_bytes(whole)
    with pytest.raises(UserError, match="remove it"):
        load_head(tmp_path, WorldModel(networks("tiny", "vicreg").model_copy(update={"widths": (8, 16, 32, 64)})))
