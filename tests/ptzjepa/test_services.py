from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from camera_sampler.settings import SamplerSettings
from dreamer_agent.settings import AgentSettings, DreamSettings
from lock_broker.settings import BrokerSettings
from ptzjepa.options import RunOptions
from ptzjepa.run_directory import RunDirectory
from ptzjepa.services import REDIS, START_ORDER, STOP_ORDER, Table, build, config_hash
from world_model_trainer.settings import TrainerSettings


def table(folder: Path, environ: dict[str, str] | None = None, **options: object) -> Table:
    run = RunOptions("demo", folder, **{"minutes": 3.0, **options})  # type: ignore[arg-type]
    return build(run, RunDirectory(folder), 8765, environ or {})


def test_every_service_is_planned_once_and_stopped(tmp_path: Path) -> None:
    assert [plan.name for plan in table(tmp_path).plans] == list(START_ORDER)
    assert sorted(STOP_ORDER) == sorted(START_ORDER)


def test_the_environment_is_what_the_services_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that no service knows would be a silent mistake."""
    environment = table(tmp_path, panorama=tmp_path / "x.jpg", seed=5).environment
    kinds = (SamplerSettings, TrainerSettings, DreamSettings, AgentSettings, BrokerSettings)
    known = {f"PTZ_{name.upper()}" for kind in kinds for name in kind.model_fields}
    for plan in table(tmp_path).plans:
        assert set(plan.environment) <= known
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sampler = SamplerSettings.from_environment()
    assert (sampler.views_per_second, sampler.time_scale, sampler.threads, sampler.seed) == (12.0, 20.0, 1, 5)
    assert sampler.keep_originals == RunDirectory(tmp_path).originals
    assert sampler.spool == RunDirectory(tmp_path).spool
    assert TrainerSettings.from_environment().commit_seconds == 20.0


def test_short_runs_commit_sooner(tmp_path: Path) -> None:
    assert table(tmp_path, minutes=0.75).environment["PTZ_COMMIT_SECONDS"] == "5"
    assert table(tmp_path, minutes=None).environment["PTZ_COMMIT_SECONDS"] == "20"


def test_the_users_settings_win_over_habits_but_not_over_places(tmp_path: Path) -> None:
    environ = {"PTZ_VIEWS_PER_SECOND": "2", "PTZ_ADMIN_PORT": "9100", "PTZ_MODEL_STORE": "/elsewhere"}
    environment = table(tmp_path, environ).environment
    assert environment["PTZ_VIEWS_PER_SECOND"] == "2"
    assert environment["PTZ_ADMIN_PORT"] == "0"
    assert environment["PTZ_MODEL_STORE"].startswith(str(tmp_path))


def test_an_external_redis_replaces_the_embedded_one(tmp_path: Path) -> None:
    external = table(tmp_path, {"PTZ_REDIS_URL": "redis://elsewhere:6379/0"})
    assert external.external_redis
    assert REDIS not in [plan.name for plan in external.plans]
    assert external.environment["PTZ_REDIS_URL"] == "redis://elsewhere:6379/0"
    store = Path(external.environment["PTZ_MODEL_STORE"])
    assert not store.is_relative_to(RunDirectory(tmp_path).state), "what that Redis registers outlasts the run"


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    environ = {"PTZ_BROKER_TOKEN": "hush", "PTZ_REDIS_PASSWORD": "hush"}
    for plan in table(tmp_path, environ).plans:
        assert not any("hush" in word for word in plan.command)


def test_config_hash_names_the_configuration_and_not_the_place(tmp_path: Path) -> None:
    here, there = table(tmp_path / "a").environment, table(tmp_path / "b").environment
    plain = config_hash(here, None, {})
    assert plain == config_hash(there, None, {"HOME": "/elsewhere", "PTZ_BROKER_TOKEN": "hush"})
    assert plain != config_hash(table(tmp_path / "a", seed=1).environment, None, {})
    assert plain != config_hash(here, None, {"PTZ_PAN_SPEED": "10"})
    picture = tmp_path / "picture.png"
    Image.new("RGB", (128, 64)).save(picture)
    assert config_hash(here, picture, {}) != plain
