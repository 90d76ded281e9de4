from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camera_sampler.access import Settled
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
        ("PTZ_STORED_ZOOM", "feet"),
        ("PTZ_KEEP_NAMES", "theirs"),
        ("PTZ_KEEP_EXIF", "maybe"),
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


@pytest.mark.parametrize(
    "url",
    [
        "http://admin:secret@10.0.0.1",
        "http://admin:se/cret?x@10.0.0.1/",
        "rtsp://10.0.0.1/",
        "http://",
        "http://admin:secret",
        "10.0.0.1",
        "http://10.0.0.1/?user=secret",
    ],
)
def test_a_camera_url_with_credentials_or_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_CAMERA_KIND", "axis")
    monkeypatch.setenv("PTZ_CAMERA_URL", url)
    with pytest.raises(UserError, match=r"^PTZ_CAMERA_URL must") as caught:
        SamplerSettings.from_environment()
    assert "secret" not in str(caught.value)


def test_a_real_camera_needs_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTZ_CAMERA_KIND", "hanwha")
    with pytest.raises(UserError, match="needs PTZ_CAMERA_URL"):
        SamplerSettings.from_environment()


@pytest.mark.parametrize("kind", ["hanwha", "axis", "onvif"])
def test_the_password_comes_from_a_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("p@ss:w/rd?\n")
    for name, value in {"KIND": kind, "URL": "http://10.0.0.1:8080", "USER": "operator"}.items():
        monkeypatch.setenv(f"PTZ_CAMERA_{name}", value)
    monkeypatch.setenv("PTZ_CAMERA_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("PTZ_TILT_MAX", "20")
    settings = SamplerSettings.from_environment()
    assert settings.access.password.get_secret_value() == "p@ss:w/rd?"
    assert "p@ss" not in f"{settings!r}{settings.access!r}{settings.model_dump_json()}"
    assert (settings.settled_limits, settings.settled_size) == (Settled(tilt_max=20.0), None)
    assert type(open_camera(settings)).__name__.lower() == f"{kind}camera"


def test_a_missing_onvif_package_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("onveef", "camera_sampler.cameras.onvif"))]:
        monkeypatch.delitem(sys.modules, name)
    # What Python finds in place of a package that is not there.
    monkeypatch.setitem(sys.modules, "onveef", None)
    settings = SamplerSettings(camera_kind="onvif", camera_url="http://10.0.0.1")
    with pytest.raises(UserError, match=r"pip install 'ptzjepa\[onvif\]'"):
        open_camera(settings)
