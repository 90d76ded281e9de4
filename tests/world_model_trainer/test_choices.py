"""What the settings choose, and what they refuse in one line."""

from __future__ import annotations

import pytest

from shared.errors import UserError
from shared.world_model import WorldModel, WorldModelConfig
from tests.world_model_trainer.objectives.networks import config
from world_model_trainer.choices import networks, objective_for
from world_model_trainer.settings import TrainerSettings


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> TrainerSettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"PTZ_{name.upper()}", value)
    return TrainerSettings.from_environment()


def test_nothing_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert networks(settings(monkeypatch)) == WorldModelConfig(surprise="disagreement")


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(
        monkeypatch,
        preset="small",
        objective="ema+idm",
        objective_weights='{"inverse_dynamics": 2}',
        surprise="progress",
        image_size="64",
    )
    built = networks(chosen)
    assert (built.preset, built.image_size, built.surprise) == ("small", 64, "progress")
    assert built.normal_embedding
    objective = objective_for(WorldModel(config(normal_embedding=True)), chosen)
    assert type(objective.main).__name__ == "Ema"
    assert objective.add_ons[0].weights == {"inverse_dynamics": 2.0}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"preset": "large"}, "no preset 'large': there are tiny, small, ptzjepa"),
        ({"objective": "vicreg+pos"}, "vicreg.pos: add-ons are idm, pose"),
        ({"surprise": "joy"}, "surprise: Input should be 'error'"),
        ({"preset": "ptzjepa", "image_size": "64"}, "64 is no multiple of patch_size"),
    ],
)
def test_networks_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    with pytest.raises(UserError, match=f"PTZ_OBJECTIVE.*{reason}") as caught:
        networks(settings(monkeypatch, **variables))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"objective_weights": '{"joy": 1}'}, "vicreg.idm.pose has no term 'joy'"),
        ({"objective": "ema"}, "objective ema needs a world model with normal_embedding"),
    ],
)
def test_objectives_that_do_not_fit_the_world_model_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    with pytest.raises(UserError, match=f"PTZ_OBJECTIVE.*{reason}"):
        objective_for(WorldModel(config()), settings(monkeypatch, **variables))


@pytest.mark.parametrize("weights", ['{"pose": -1}', '{"pose": "many"}', "pose=1"])
def test_weights_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, weights: str) -> None:
    with pytest.raises(UserError, match=r"PTZ_|objective_weights"):
        settings(monkeypatch, objective_weights=weights)
