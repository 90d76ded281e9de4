from __future__ import annotations

from pathlib import Path

import pytest

from camera_sampler.cameras import open_camera
from camera_sampler.settings import SamplerSettings
from shared.actions import DEFAULT_ACTIONS, Action, ActionTable
from shared.errors import UserError
from shared.pose import PoseLimits


def test_defaults_work_on_a_laptop() -> None:
    settings = SamplerSettings.from_environment()
    assert (settings.policy, settings.camera_kind, settings.panorama) == ("follow", "simulated", None)
    assert settings.limits == PoseLimits()
    assert settings.actions() is DEFAULT_ACTIONS


def test_an_empty_panorama_means_the_generated_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_PANORAMA", "")
    assert SamplerSettings.from_environment().panorama is None


def test_the_action_table_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ActionTable(actions=(Action(name="left", pan=-3.0), Action(name="right", pan=3.0)))
    (tmp_path / "table.json").write_text(table.dump())
    monkeypatch.setenv("PTZ_ACTION_TABLE", str(tmp_path / "table.json"))
    assert SamplerSettings.from_environment().actions() == table


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PTZ_CAMERA_KIND", "webcam"),
        ("PTZ_POLICY", "dance"),
        ("PTZ_MOVEMENTS", "0"),
        ("PTZ_VIEWS_PER_SECOND", "nan"),
        ("PTZ_VIEWS_PER_SECOND", "0"),
        ("PTZ_VIEW_SIZE", "8"),
        ("PTZ_CAMERA", "North Tower!"),
        ("PTZ_ZOOM_MAX", "0.5"),
        ("PTZ_TIME_SCALE", "-1"),
        ("PTZ_PAN_SPEED", "inf"),
    ],
)
def test_wrong_settings_are_the_users_errors(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=variable):
        SamplerSettings.from_environment()


def test_limits_out_of_order_are_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_TILT_MIN", "70")
    with pytest.raises(UserError, match=r"^PTZ_PAN_MIN and PTZ_TILT_MIN must be below"):
        SamplerSettings.from_environment()


def test_a_missing_panorama_is_the_users_error() -> None:
    with pytest.raises(UserError, match="No such file"):
        open_camera(SamplerSettings(panorama=Path("/nowhere/panorama.jpg")))
